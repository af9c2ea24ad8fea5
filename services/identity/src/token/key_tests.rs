//! Tokens of signing keys, and forged ones.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::signing::key::{NewKey, PrivateKey};
use crate::signing::plan::Slot;
use crate::signing::set::{Halves, Known, KnownKey};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Tokens that are signed with one key, which this is.
fn signing(algorithm: KeyAlgorithm) -> (Tokens, NewKey) {
    let tokens = Tokens::new(&Config {
        secret: Secret::new(SECRET.to_owned()),
        previous: None,
        issuer: "https://id.example.com".to_owned(),
        audience: "latchkey".to_owned(),
        lifetime_seconds: 1_800,
    })
    .unwrap();
    let made = NewKey::make(algorithm).unwrap();
    tokens.keys().know(Known { algorithm: Some(algorithm), keys: vec![known(algorithm, &made)] });
    (tokens, made)
}

fn known(algorithm: KeyAlgorithm, made: &NewKey) -> KnownKey {
    let halves = Halves {
        public: crate::signing::key::PublicKey::of(algorithm, made.public.text()).unwrap(),
        private: Some(PrivateKey::of(algorithm, &made.private).unwrap()),
        is_sealed_formerly: false,
    };
    let (signs_from, signs_until) = (NOW, NOW.plus(Timestamp::DAY));
    let slot = Slot { slot: 1, signs_from, signs_until, accepted_until: None };
    KnownKey { halves: Arc::new(halves), slot, longest_life: 0, can_be_opened: true }
}

/// A token to be.
const NEW: NewToken<'_> = NewToken {
    user: UserId(42),
    session: SessionId([7; 16]),
    id: None,
    issued_at: NOW,
    scope: None,
};

fn signed(tokens: &Tokens) -> Secret {
    tokens.sign(&NEW).unwrap().token
}

/// The header and the claims of a token.
fn parts(token: &Secret) -> [Value; 2] {
    let mut parts = token.expose().split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
    [(); 2].map(|()| serde_json::from_slice(&parts.next().unwrap()).unwrap())
}

/// Signs what a forger says with a key of ours, whatever the header says.
fn forged([header, claims]: &[Value; 2], sign: impl Fn(&[u8]) -> Vec<u8>) -> Secret {
    let input = format!("{}.{}", encoded(header).unwrap(), encoded(claims).unwrap());
    let signature = URL_SAFE_NO_PAD.encode(sign(input.as_bytes()));
    Secret::new(format!("{input}.{signature}"))
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

#[test]
fn a_token_of_a_key_says_what_it_is_and_reads_back() {
    for algorithm in KeyAlgorithm::ALL {
        let (tokens, made) = signing(algorithm);
        let signed = tokens.sign(&NEW).unwrap();
        assert_eq!(signed.signer, made.public.fingerprint());
        let [header, claims] = parts(&signed.token);
        let kid = made.public.kid();
        assert_eq!(header, json!({"typ": "at+jwt", "alg": algorithm.name(), "kid": kid}));
        assert_eq!(claims["client_id"], "latchkey");
        let read = tokens.read(&signed.token).unwrap();
        assert_eq!((read.signer, read.user), (signed.signer, UserId(42)));
    }
}

#[test]
fn every_single_flipped_bit_of_a_key_s_token_is_noticed() {
    for algorithm in [KeyAlgorithm::Es256, KeyAlgorithm::EdDsa] {
        let (tokens, _) = signing(algorithm);
        let token = signed(&tokens);
        for at in 0..token.expose().len() {
            for bit in 0..7 {
                let mut bytes = token.expose().as_bytes().to_vec();
                bytes[at] ^= 1 << bit;
                if let Ok(text) = String::from_utf8(bytes) {
                    assert!(tokens.read(&Secret::new(text)).is_err(), "{algorithm:?} {at} {bit}");
                }
            }
        }
    }
}

#[test]
fn no_header_gives_a_key_s_token_another_signer_or_algorithm() {
    for algorithm in KeyAlgorithm::ALL {
        let (tokens, made) = signing(algorithm);
        let other = NewKey::make(algorithm).unwrap();
        let private = |made: &NewKey| PrivateKey::of(algorithm, &made.private).unwrap();
        let (own, foreign) = (private(&made), private(&other));
        let [header, claims] = parts(&signed(&tokens));
        let with = |member: &str, value: Value| {
            let mut header = header.clone();
            header[member] = value;
            [header, claims.clone()]
        };
        let sign = |message: &[u8]| own.sign(message).unwrap();
        assert!(tokens.read(&forged(&[header.clone(), claims.clone()], sign)).is_ok());
        // With the right key: what is said beside is not looked at, or bars the token.
        assert!(tokens.read(&forged(&with("jku", json!("http://127.0.0.1:9/")), sign)).is_ok());
        for (member, value) in [
            ("crit", json!(["exp"])),
            ("crit", json!([])),
            ("typ", json!("JWT")),
            ("typ", json!(null)),
            ("kid", json!("k".repeat(65))),
            ("kid", json!(format!("{}=", made.public.kid()))),
            ("kid", json!(made.public.kid().to_lowercase())),
            ("kid", json!(null)),
            ("kid", json!(1)),
            ("alg", json!("none")),
            ("alg", json!("HS256")),
            ("alg", json!("PS256")),
            ("alg", json!("ES384")),
        ] {
            let read = tokens.read(&forged(&with(member, value.clone()), sign));
            assert!(read.is_err(), "{algorithm:?} {member} {value}");
        }
        for swapped in KeyAlgorithm::ALL.into_iter().filter(|other| *other != algorithm) {
            let read = tokens.read(&forged(&with("alg", json!(swapped.name())), sign));
            assert_eq!(read, Err(Unread::Invalid), "{algorithm:?} {swapped:?}");
        }
        // With a key that is public: as the secret of an HMAC, or sent along.
        let jwk: Value = serde_json::from_str(made.public.text()).unwrap();
        for key in [made.public.text(), made.public.kid(), "", jwk["x"].as_str().unwrap_or("n")] {
            for alg in ["HS256", algorithm.name()] {
                let read = tokens.read(&forged(&with("alg", json!(alg)), |message| {
                    hmac(key.as_bytes(), message)
                }));
                assert!(read.is_err(), "{algorithm:?} {alg} {key}");
            }
        }
        let foreign = |message: &[u8]| foreign.sign(message).unwrap();
        let sent: Value = serde_json::from_str(other.public.text()).unwrap();
        assert!(tokens.read(&forged(&with("jwk", sent), foreign)).is_err());
        let named = tokens.read(&forged(&with("kid", json!(other.public.kid())), foreign));
        assert_eq!(named, Err(Unread::OtherKey(*other.public.thumbprint())));
        let nothing = |_: &[u8]| Vec::new();
        assert!(tokens.read(&forged(&with("alg", json!("none")), nothing)).is_err());
        assert!(tokens.read(&forged(&[header.clone(), claims.clone()], nothing)).is_err());
    }
}

#[test]
fn a_key_that_is_known_reads_tokens_of_its_own_algorithm_alone() {
    let (tokens, made) = signing(KeyAlgorithm::Es256);
    let (_, okp) = signing(KeyAlgorithm::EdDsa);
    let keys = vec![known(KeyAlgorithm::Es256, &made), known(KeyAlgorithm::EdDsa, &okp)];
    tokens.keys().know(Known { algorithm: None, keys });
    // Keys of former settings are read on, beside the secret that signs now.
    assert_eq!(tokens.read(&signed(&tokens)).map(|read| read.signer), Ok(tokens.signer()));
    let [_, claims] = parts(&signed(&tokens));
    for (alg, kid, signs) in [
        ("ES256", &made, true),
        ("EdDSA", &okp, true),
        ("ES256", &okp, false),
        ("EdDSA", &made, false),
    ] {
        let header = json!({"typ": "at+jwt", "alg": alg, "kid": kid.public.kid()});
        let algorithm = kid.public.algorithm();
        let private = PrivateKey::of(algorithm, &kid.private).unwrap();
        let sign = |message: &[u8]| private.sign(message).unwrap();
        let read = tokens.read(&forged(&[header, claims.clone()], sign));
        assert_eq!(read.is_ok(), signs, "{alg} {algorithm:?}");
    }
}

#[test]
fn nothing_is_signed_where_no_key_can() {
    let (tokens, made) = signing(KeyAlgorithm::Es256);
    let mut later = known(KeyAlgorithm::Es256, &made);
    later.slot.signs_from = NOW.plus(1);
    let algorithm = Some(KeyAlgorithm::Es256);
    for keys in
        [vec![], vec![later], vec![known(KeyAlgorithm::EdDsa, &signing(KeyAlgorithm::EdDsa).1)]]
    {
        tokens.keys().know(Known { algorithm, keys });
        let signed = tokens.sign(&NEW);
        assert!(matches!(signed, Err(CannotSign::NoKey)), "{signed:?}");
    }
}
