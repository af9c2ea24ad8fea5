use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use super::*;

/// A small deterministic generator (xorshift64*), so that the tests need no random crate.
fn random_bytes(seed: u64) -> impl FnMut(&mut [u8]) {
    let mut state = seed | 1;
    move |bytes| {
        for byte in bytes {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            *byte = (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 56) as u8;
        }
    }
}

/// A key of the default prefix.
fn key(fill: impl FnMut(&mut [u8])) -> ApiKey {
    ApiKey::generate(&KeyPrefix::default(), None, fill)
}

/// A key with this before its random characters, which are always the same.
fn key_of(prefix: &str, infix: Option<&str>) -> ApiKey {
    let infix = infix.map(|name| KeyEnvironment::parse(name).unwrap());
    ApiKey::generate(&KeyPrefix::parse(prefix).unwrap(), infix.as_ref(), |bytes| bytes.fill(10))
}

#[test]
fn a_generated_key_is_recognised_and_keys_differ() {
    let mut fill = random_bytes(7);
    let first = key(&mut fill);
    let second = key(&mut fill);
    assert_ne!(first, second);
    assert_eq!(first.expose().len(), "sk_".len() + BODY_LENGTH);
    assert_eq!(ApiKey::parse(first.expose()), Ok(first));
}

#[test]
fn a_key_is_recognised_whatever_its_prefix_and_environment() {
    let shortest = ["sk", "acme", "k0", "a234567890123456"];
    let infixes = [None, Some("sandbox"), Some("eu"), Some("01"), Some("123456789012")];
    for (prefix, infix) in shortest.iter().flat_map(|prefix| infixes.map(|infix| (prefix, infix))) {
        let key = key_of(prefix, infix);
        let text = key.expose();
        assert_eq!(ApiKey::parse(text).as_ref(), Ok(&key), "{text}");
        assert_eq!(ApiKey::hash_of(text), Ok(key.hash()), "{text}");
        assert!(ApiKey::is_begun_by(text) && ApiKey::is_within(text), "{text}");
        // The checksum is over the random characters alone.
        assert!(text.ends_with("_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA0DofJ8"), "{text}");
        let lead = text.strip_suffix("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA0DofJ8").unwrap();
        assert_eq!(key.hint(), format!("{lead}AAAA…ofJ8"));
        let names: Vec<_> = lead.trim_end_matches('_').split('_').collect();
        assert_eq!(names, [*prefix].into_iter().chain(infix).collect::<Vec<_>>());
    }
}

#[test]
fn what_no_key_may_begin_with_is_refused_before_good_characters() {
    let body = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA0DofJ8";
    assert!(ApiKey::parse(&format!("sk_{body}")).is_ok());
    let long = "a".repeat(100_000) + "_";
    let leads = [
        "",
        "_",
        "__",
        "s_",
        "sk",
        "sk__",
        "_sk_",
        "1k_",
        "Sk_",
        "sK_",
        "s-k_",
        "sk-",
        "ск_",
        " sk_",
        "sk _",
        "sk_a_",
        "sk__ab_",
        "sk_ab__",
        "sk_AB_",
        "sk_a-b_",
        "sk_1234567890123_",
        "sk_ab_cd_",
        "a2345678901234567_",
        "sk_ab",
        "sk.ab_",
        "sk_\0_",
        &long,
    ];
    for lead in leads {
        let text = format!("{lead}{body}");
        assert_eq!(ApiKey::parse(&text), Err(MalformedKey), "{text}");
        assert_eq!(ApiKey::hash_of(&text), Err(MalformedKey), "{text}");
    }
    for behind in ["0", "_", " ", "\n", "\0"] {
        assert_eq!(ApiKey::parse(&format!("sk_{body}{behind}")), Err(MalformedKey));
    }
}

#[test]
fn names_of_prefixes_and_environments_have_bounds() {
    for good in ["sk", "k0", "a234567890123456"] {
        assert_eq!(KeyPrefix::parse(good).unwrap().to_string(), good);
    }
    for bad in ["", "s", "0k", "a2345678901234567", "Sk", "s_k", "s-k", "sk_", "sk ", "ск"] {
        assert_eq!(KeyPrefix::parse(bad), Err(MalformedPrefix), "{bad}");
    }
    for good in ["eu", "01", "123456789012"] {
        assert_eq!(KeyEnvironment::parse(good).unwrap().to_string(), good);
    }
    for bad in ["", "e", "1234567890123", "Eu", "e_u", "e-u", " eu", "ею"] {
        assert_eq!(KeyEnvironment::parse(bad), Err(MalformedEnvironment), "{bad}");
    }
    assert_eq!(KeyPrefix::default(), KeyPrefix::parse("sk").unwrap());
}

#[test]
fn a_text_that_begins_like_a_key_is_told_from_a_token() {
    for text in ["sk_", "sk_.b.c", "acme_x", "sk_live_", "a234567890123456_"] {
        assert!(ApiKey::is_begun_by(text), "{text}");
    }
    // JSON objects in base64url, with the white space that one may begin with, and what is neither.
    let tokens = ["eyJhbGciOiJIUzI1NiJ9.e30.c2ln", "eyAia_", "ewogICJh_", "ewoJIm_", "e30.e30.e30"];
    let others = ["", "sk", "s_", "nonsense", "0k_", "a2345678901234567_", "SK_", "sk-x_", "é_"];
    for text in tokens.into_iter().chain(others) {
        assert!(!ApiKey::is_begun_by(text), "{text}");
    }
}

#[test]
fn a_key_is_found_wherever_it_stands_in_a_text() {
    let (old, own) = (key_of("sk", None), key_of("acme", Some("test")));
    for key in [old.expose(), own.expose()] {
        for text in
            [key.to_owned(), format!("a=b&x={key}"), format!("__{key}_&c"), format!("{key}0")]
        {
            assert!(ApiKey::is_within(&text), "{text}");
        }
        let cut = key.split_at(key.len() - 1).0;
        let changed = format!("{cut}9");
        let parted = key.replace("_A", "-A");
        for text in [cut, &changed, &parted] {
            assert!(!ApiKey::is_within(text), "{text}");
        }
    }
    for text in ["", "_", "limit=10&after_id=3", &"_".repeat(10_000), &"_0".repeat(10_000)] {
        assert!(!ApiKey::is_within(text));
    }
}

#[test]
fn the_format_never_changes() {
    let key = key(|bytes| bytes.fill(10));
    assert_eq!(key.expose(), "sk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA0DofJ8");
    assert_eq!(key.hint(), "sk_AAAA…ofJ8");
}

#[test]
fn no_character_is_likelier_than_another() {
    // 248 to 255 would make eight characters likelier, so they choose none; 247 is the last that chooses.
    let mut fills = 0;
    let key = key(|bytes| {
        fills += 1;
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = [248, 247, 255, 247][at % 4];
        }
    });
    assert_eq!(key.expose().matches('z').count(), RANDOM_LENGTH);
    assert_eq!(fills, 1, "half of the bytes may be of no use, and one filling is enough");
    let mut drawn = [0; 62];
    let mut fill = random_bytes(17);
    for _ in 0..1_000 {
        let key = ApiKey::generate(&KeyPrefix::default(), None, &mut fill);
        for byte in &key.expose().as_bytes()["sk_".len()..][..RANDOM_LENGTH] {
            drawn[ALPHABET.iter().position(|known| known == byte).unwrap()] += 1;
        }
    }
    // 694 of each are to be expected; five times the standard deviation is 131.
    assert!(drawn.iter().all(|count| (563..825).contains(count)), "{drawn:?}");
}

#[test]
fn what_is_stored_of_a_key_is_the_digest_of_its_text() {
    let key = key(|bytes| bytes.fill(10));
    let digest = CredentialHash::of(key.expose());
    assert_eq!((key.hash(), ApiKey::hash_of(key.expose())), (digest, Ok(digest)));
    assert_eq!(ApiKey::hash_of("sk_"), Err(MalformedKey));
    // SHA-256 of "abc" (FIPS 180-2, B.1) begins so.
    assert_eq!(CredentialHash::of("abc").0[..4], [0xba, 0x78, 0x16, 0xbf]);
}

#[test]
fn hashes_fall_apart_in_tables_and_stay_out_of_logs() {
    let (tables, hash) = (BuildHasherDefault::<DefaultHasher>::default(), CredentialHash::of);
    assert_ne!(tables.hash_one(hash("a")), tables.hash_one(hash("b")));
    assert_eq!(tables.hash_one(hash("a")), tables.hash_one(hash("a")));
    assert_eq!(format!("{:?}", hash("a")), "CredentialHash([redacted])");
}

#[test]
fn another_alphabet_is_refused_even_with_its_checksum() {
    for other in ['-', '_', '+', ' '] {
        let random = "A".repeat(RANDOM_LENGTH - 1) + &String::from(other);
        let sum = checksum(random.as_bytes()).map(char::from);
        let text = format!("sk_{random}{}", String::from_iter(sum));
        assert_eq!(ApiKey::parse(&text), Err(MalformedKey), "{text}");
    }
}

#[test]
fn every_single_changed_character_is_refused_or_is_another_key_which_nobody_made() {
    let infix = KeyEnvironment::parse("sandbox").unwrap();
    let keys = [
        key(random_bytes(11)),
        ApiKey::generate(&KeyPrefix::parse("acme").unwrap(), Some(&infix), random_bytes(11)),
    ];
    for key in keys {
        let lead = key.expose().len() - BODY_LENGTH;
        for (at, other) in (0..key.expose().len()).flat_map(|at| (0..128).map(move |b| (at, b))) {
            let mut bytes = key.expose().as_bytes().to_vec();
            if bytes[at] == other {
                continue;
            }
            bytes[at] = other;
            let text = String::from_utf8(bytes).unwrap();
            match ApiKey::parse(&text) {
                Err(MalformedKey) => {}
                // Of the names before the random characters no checksum says anything, and the hash does.
                Ok(changed) => {
                    assert!(at < lead && changed.hash() != key.hash(), "{text}");
                }
            }
        }
    }
}

#[test]
fn of_a_million_random_texts_of_the_right_shape_none_passes() {
    let mut fill = random_bytes(13);
    let mut bytes = [0_u8; BODY_LENGTH];
    let mut texts =
        ["sk_", "sk_sandbox_", "acme_", "acme_test_"].map(|lead| (lead, lead.to_owned()));
    for _ in 0..250_000 {
        for (lead, text) in &mut texts {
            fill(&mut bytes);
            text.truncate(lead.len());
            text.extend(bytes.iter().map(|b| char::from(ALPHABET[usize::from(b % 62)])));
            assert_eq!(ApiKey::hash_of(text), Err(MalformedKey), "{text}");
        }
    }
}

#[test]
fn text_that_is_no_key_is_refused() {
    let long = "sk_".repeat(1_000_000);
    for text in ["", "sk_", "pk_x", "sk_ä", "sk_\u{0}", &long] {
        assert_eq!(ApiKey::parse(text), Err(MalformedKey));
    }
}
