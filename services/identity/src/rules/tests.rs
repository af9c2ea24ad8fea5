//! Names, addresses and passwords at their edges.

use super::*;

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

/// The name that a text stands for, if it stands for one.
fn name(text: &str) -> Option<String> {
    typed_username(text)?.folded
}

#[test]
fn a_name_is_its_own_name_for_every_code_point() {
    for point in '\0'..=char::MAX {
        let text = format!("a{point}b");
        let Some(typed) = typed_username(&text) else { continue };
        let twice = UsernameCaseMapped::new().enforce(typed.canonical.as_str());
        let was_a_name = twice.is_ok_and(|twice| twice == typed.canonical);
        assert!(typed.folded.is_some() || !was_a_name, "{point:?} is no letter of a name any more");
        let alone = point.to_string();
        let is_plain =
            folded(&alone) == alone && alone.nfd().eq([point]) && alone.to_uppercase() == alone;
        let places = [
            text.clone(),
            format!("{point}ab"),
            format!("ab{point}"),
            format!("{point}{point}{point}"),
            format!("a{point}\u{301}\u{323}"),
            format!("Σ{point}ς"),
        ];
        // Most are ideographs and syllables, which are the same in every place.
        for text in places.iter().take(if is_plain { 1 } else { places.len() }) {
            let Some(once) = name(text) else { continue };
            assert_eq!(name(&once).as_ref(), Some(&once), "{text:?}");
            assert_eq!(folded(&once), once, "{text:?}");
        }
        // The capital of a dotless i is another letter's, too.
        let capital = (point != 'ı').then(|| text.to_uppercase());
        for other in [Some(text.to_lowercase()), capital].into_iter().flatten() {
            let same = name(&other).is_none_or(|other| Some(other) == typed.folded);
            assert!(same, "{text:?} and {other:?}");
        }
    }
}

#[test]
fn letters_that_differ_in_case_or_in_their_place_are_one_name() {
    let one = [
        ["Σίσυφος", "ΣΊΣΥΦΟΣ", "σίσυφοσ"],
        ["Straße", "STRASSE", "strasse"],
        ["maſs", "MASS", "mass"],
    ];
    for spellings in one {
        let names = spellings.map(|text| username(Some(text)).ok().map(|name| name.folded));
        let known: Vec<_> = names.iter().flatten().collect();
        assert!(known.len() >= 2 && known.iter().all(|name| *name == known[0]), "{names:?}");
    }
}

#[test]
fn names_of_the_worlds_scripts_are_names() {
    for text in [
        "Ada.Lovelace",
        "Ωριγένης",
        "Пушкин",
        "Սարգիս",
        "დავით",
        "יהודה",
        "محمد",
        "अमृता",
        "রবীন্দ্র",
        "தமிழ்",
        "శ్రీనివాస",
        "สมชาย",
        "ལྷ་ས",
        "អង្គរ",
        "ሰላም",
        "ᎠᏯᎸ",
        "김민수",
        "さくら子",
        "李小龙",
        "ناصر۱۲",
        "می\u{200c}نا",
        "क्\u{200d}षमा",
    ] {
        let accepted = username(Some(text)).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
        assert_eq!(accepted.shown, text);
    }
}

#[test]
fn names_that_read_the_same_are_the_same() {
    let ada = username(Some("Ada.L")).unwrap();
    assert_eq!(ada.shown, "Ada.L");
    // Full-width letters are a width variant; a composed letter equals its decomposed form.
    for same in ["ada.l", "ADA.L", "\u{ff21}da.L"] {
        assert_eq!(username(Some(same)).unwrap().folded, ada.folded, "{same}");
    }
    let composed = username(Some("zo\u{eb}")).unwrap().folded;
    assert_eq!(username(Some("ZOE\u{308}")).unwrap().folded, composed);
}

#[test]
fn what_is_no_username_is_refused() {
    let long = "a".repeat(51);
    let look_alike = "\u{1d2e}\u{1d35}\u{1d33}\u{1d2e}\u{1d35}\u{1d3f}\u{1d30}";
    for bad in ["", "ab", &long, "a b c", "nul\0name", "tab\tname", "\u{202e}abc", look_alike] {
        assert_eq!(username(Some(bad)).unwrap_err().field, "username", "{bad:?}");
    }
    assert!(username(None).is_err());
    assert!(username(Some(&"a".repeat(50))).is_ok());
}

#[test]
fn passwords_have_eight_to_128_characters_and_no_control_characters() {
    let ok = |text: &str| new_password(Some(&secret(text)), 8).is_ok();
    assert!(ok("12345678") && ok(&"\u{1fae8}".repeat(128)) && ok("with a space"));
    assert!(!ok("1234567") && !ok(&"a".repeat(129)) && !ok("12345678\0") && !ok("1234\u{7}5678"));
    assert!(new_password(None, 8).is_err());
    assert!(new_password(Some(&secret("12345678")), 15).is_err());
}

#[test]
fn composed_and_decomposed_passwords_are_the_same() {
    assert_eq!(password(&secret("caf\u{e9} noir")), password(&secret("cafe\u{301} noir")));
    assert_ne!(password(&secret("Caf\u{e9} noir")), password(&secret("caf\u{e9} noir")));
}

#[test]
fn the_commonest_passwords_are_known_with_their_usual_changes() {
    let common = [
        "password",
        "12345678",
        "123456789",
        "1234567890",
        "qwertyuiop",
        "iloveyou",
        "sunshine",
        "princess",
        "football",
        "baseball",
        "superman",
        "trustno1",
        "starwars",
        "whatever",
        "computer",
        "michelle",
        "jennifer",
        "11111111",
        "00000000",
        "password1",
        "password123",
        "Password",
        "PASSWORD",
        "passw0rd",
        "P@ssw0rd",
        "drowssap",
        "qwerty123",
        "1q2w3e4r",
        "abcd1234",
        "aaaaaaaa",
        "abcdefgh",
        "87654321",
        "asdfghjkl",
        "zxcvbnm1",
        "letmein1",
        "latchkey",
        "ada.lovelace",
        "ADA.lovelace",
        "ada.lovelace@example.com",
    ];
    for text in common {
        let common = is_common(&secret(text), "ada.lovelace", "ada.lovelace@example.com");
        assert!(common, "{text}");
    }
}

#[test]
fn ordinary_passwords_are_not_common() {
    let fine = [
        "SecurePass123!",
        "testpassword123",
        "correct horse battery staple",
        "kX9#mQ2$vL",
        "MyS3cretPassw0rd",
        "a-long-enough-one",
        "s3cure-enough",
        "StrongPass1",
    ];
    for text in fine {
        assert!(!is_common(&secret(text), "ada", "ada@example.com"), "{text}");
    }
    assert!(!is_common(&secret(&"xK7".repeat(42)), "ada", "ada@example.com"));
}
