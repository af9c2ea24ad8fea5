//! Forged tokens of every kind, each refused.

use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn tokens(secret: &str, issuer: &str, audience: &str) -> Tokens {
    with_previous(secret, None, issuer, audience)
}

fn with_previous(secret: &str, previous: Option<&str>, issuer: &str, audience: &str) -> Tokens {
    Tokens::new(&Config {
        secret: Secret::new(secret.to_owned()),
        previous: previous.map(|secret| Secret::new(secret.to_owned())),
        issuer: issuer.to_owned(),
        audience: audience.to_owned(),
        lifetime_seconds: 1_800,
    })
    .unwrap()
}

fn ours() -> Tokens {
    tokens(SECRET, "latchkey", "latchkey")
}

fn verified() -> VerifiedClaims {
    VerifiedClaims {
        signer: ours().signer(),
        user: UserId(42),
        session: SessionId([7; 16]),
        scope: None,
        expires_at: Timestamp(NOW.0 + 1_800_000),
        not_before: None,
    }
}

fn new(id: Option<[u8; 16]>, scope: Option<&Scopes>) -> NewToken<'_> {
    let VerifiedClaims { user, session, .. } = verified();
    NewToken { user, session, id, issued_at: NOW, scope }
}

fn signed(tokens: &Tokens) -> Secret {
    tokens.sign(&new(None, None)).unwrap().token
}

/// Signs any JSON with our key.
fn sign_json(algorithm: Algorithm, claims: &serde_json::Value) -> Secret {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    Secret::new(encode(&Header::new(algorithm), claims, &key).unwrap())
}

fn good_claims() -> serde_json::Value {
    serde_json::json!({
        "iss": "latchkey", "aud": "latchkey", "sub": "42", "jti": "07".repeat(16),
        "iat": 1_800_000_000, "exp": 1_800_001_800,
    })
}

#[test]
fn a_token_reads_back_what_was_signed() {
    assert_eq!(ours().read(&signed(&ours())), Ok(verified()));
    assert_eq!(ours().read(&sign_json(Algorithm::HS256, &good_claims())), Ok(verified()));
}

#[test]
fn the_tokens_of_a_session_differ_and_each_keeps_what_it_was_narrowed_to() {
    let scope = Scopes::of(["orders:read"]).unwrap();
    for scope in [None, Some(&scope)] {
        let all = [None, Some([7; 16]), Some([8; 16])].map(|id| {
            let token = ours().sign(&new(id, scope)).unwrap().token;
            let read = ours().read(&token).unwrap();
            assert_eq!(read, VerifiedClaims { scope: scope.cloned(), ..verified() });
            token
        });
        assert!(all[0] != all[1] && all[1] != all[2]);
    }
    let with = |claim: &str, value: &str| {
        let mut claims = good_claims();
        claims[claim] = value.into();
        ours().read(&sign_json(Algorithm::HS256, &claims))
    };
    for (claim, value) in [("sid", "no session"), ("sid", ""), ("scope", "a  b")] {
        assert_eq!(with(claim, value), Err(Unread::Invalid), "{claim} {value:?}");
    }
    assert_eq!(with("sid", &"07".repeat(16)), Ok(verified()));
}

#[test]
fn other_keys_issuers_and_audiences_are_refused() {
    let other = "another secret of at least 32 chars";
    for forger in [
        tokens(other, "latchkey", "latchkey"),
        tokens(SECRET, "elsewhere", "latchkey"),
        tokens(SECRET, "latchkey", "elsewhere"),
    ] {
        assert!(ours().read(&signed(&forger)).is_err());
    }
}

#[test]
fn a_signer_is_a_secret_with_its_issuer_and_audience() {
    let other = "another secret of at least 32 chars";
    let all = [
        ours(),
        tokens(other, "latchkey", "latchkey"),
        tokens(SECRET, "elsewhere", "latchkey"),
        tokens(SECRET, "latchkey", "elsewhere"),
        tokens(SECRET, "latchkeyl", "atchkey"),
    ];
    for (at, one) in all.iter().enumerate() {
        let same: Vec<_> = all.iter().map(|two| two.signer() == one.signer()).collect();
        assert_eq!(same.iter().filter(|same| **same).count(), 1, "{at}: {same:?}");
    }
    assert_eq!(ours().signer(), ours().signer());
}

#[test]
fn a_token_is_read_with_every_secret_and_says_whose_it_is() {
    let other = "another secret of at least 32 chars";
    let (former, both) = (tokens(other, "latchkey", "latchkey"), || {
        with_previous(SECRET, Some(other), "latchkey", "latchkey")
    });
    assert_eq!(both().signers(), [ours().signer(), former.signer()]);
    for signer in [&ours(), &former] {
        assert_eq!(both().read(&signed(signer)).map(|read| read.signer), Ok(signer.signer()));
        assert!(both().reads(signer.signer()));
    }
    assert_eq!(both().read(&signed(&both())).map(|read| read.signer), Ok(ours().signer()));
    let third = tokens("a third secret of at least 32 characters", "latchkey", "latchkey");
    assert_eq!(both().read(&signed(&third)), Err(Unread::OtherSigner));
    assert_eq!(ours().read(&signed(&former)), Err(Unread::OtherSigner));
    // Another signer may have the same secret, with an issuer or an audience of its own.
    for elsewhere in [tokens(SECRET, "x", "latchkey"), tokens(other, "latchkey", "x")] {
        assert_eq!(both().read(&signed(&elsewhere)), Err(Unread::OtherSigner));
    }
}

#[test]
fn a_header_names_the_secret_and_a_token_without_a_name_is_tried_with_each() {
    let other = "another secret of at least 32 chars";
    let both = with_previous(SECRET, Some(other), "latchkey", "latchkey");
    let kid = |tokens: &Tokens| decode_header(signed(tokens).expose()).unwrap().kid.unwrap();
    // printf latchkey-hs0123456789abcdef0123456789abcdef | sha256sum
    assert_eq!(kid(&both), "c0eeda10cd2fbaa4");
    let former = tokens(other, "latchkey", "latchkey");
    assert_ne!(kid(&former), kid(&both));
    let with = |secret: &str, kid: Option<&str>| {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::HS256) };
        let key = EncodingKey::from_secret(secret.as_bytes());
        both.read(&Secret::new(encode(&header, &good_claims(), &key).unwrap()))
    };
    assert_eq!(with(SECRET, None).map(|read| read.signer), Ok(ours().signer()));
    assert_eq!(with(other, None).map(|read| read.signer), Ok(former.signer()));
    // A name is exact: no other secret is tried.
    assert_eq!(with(other, Some(&kid(&both))), Err(Unread::OtherSigner));
    assert_eq!(with(SECRET, Some(&kid(&former))), Err(Unread::OtherSigner));
    assert_eq!(with(SECRET, Some(&kid(&both).to_uppercase())), Err(Unread::OtherSigner));
    assert_eq!(with(SECRET, Some("")), Err(Unread::OtherSigner));
    assert_eq!(with(SECRET, Some(&"k".repeat(65))), Err(Unread::Invalid));
    let critical = Header { crit: Some(vec!["exp".to_owned()]), ..Header::new(Algorithm::HS256) };
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let critical = encode(&critical, &good_claims(), &key).unwrap();
    assert_eq!(both.read(&Secret::new(critical)), Err(Unread::Invalid));
}

#[test]
fn the_token_does_not_choose_the_algorithm() {
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        assert_eq!(ours().read(&sign_json(algorithm, &good_claims())), Err(Unread::Invalid));
    }
}

#[test]
fn every_single_flipped_bit_is_noticed() {
    let token = signed(&ours());
    for at in 0..token.expose().len() {
        for bit in 0..7 {
            let mut bytes = token.expose().as_bytes().to_vec();
            bytes[at] ^= 1 << bit;
            if let Ok(text) = String::from_utf8(bytes) {
                assert!(ours().read(&Secret::new(text)).is_err(), "{at} {bit}");
            }
        }
    }
}

#[test]
fn each_claim_is_required_and_has_its_type() {
    for claim in ["iss", "aud", "sub", "jti", "iat", "exp"] {
        let mut claims = good_claims();
        claims.as_object_mut().unwrap().remove(claim);
        assert_eq!(
            ours().read(&sign_json(Algorithm::HS256, &claims)),
            Err(Unread::Invalid),
            "{claim}"
        );
    }
    let wrong = [
        ("exp", serde_json::json!("never")),
        ("exp", serde_json::json!(1.5)),
        ("exp", serde_json::json!(9_223_372_036_854_775_808_u64)),
        ("exp", serde_json::json!([1_800_001_800])),
        ("exp", serde_json::json!(null)),
        ("sub", serde_json::json!(42)),
        ("sub", serde_json::json!("forty-two")),
        ("jti", serde_json::json!("../../etc/passwd")),
        ("aud", serde_json::json!(["elsewhere"])),
    ];
    for (claim, value) in wrong {
        let mut claims = good_claims();
        claims[claim] = value.clone();
        let read = ours().read(&sign_json(Algorithm::HS256, &claims));
        assert_eq!(read, Err(Unread::Invalid), "{claim}: {value}");
    }
}

#[test]
fn a_token_above_the_size_cap_is_not_looked_at() {
    let mut claims = good_claims();
    claims["padding"] = "x".repeat(MAX_TOKEN).into();
    assert_eq!(ours().read(&sign_json(Algorithm::HS256, &claims)), Err(Unread::Invalid));
}
