//! Names, addresses and passwords at their edges.

use super::*;

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

#[test]
fn canonical_names_are_canonical_for_every_code_point() {
    for point in '\0'..=char::MAX {
        let name = format!("a{point}b");
        if let Some(canonical) = canonical_username(&name) {
            assert_eq!(canonical_username(&canonical).as_ref(), Some(&canonical), "{point:?}");
        }
    }
}

#[test]
fn names_that_read_the_same_are_the_same() {
    let ada = username(Some("Ada.L")).unwrap();
    assert_eq!(ada.shown, "Ada.L");
    // Full-width letters are a width variant; a composed letter equals its decomposed form.
    for same in ["ada.l", "ADA.L", "\u{ff21}da.L"] {
        assert_eq!(username(Some(same)).unwrap().canonical, ada.canonical, "{same}");
    }
    let composed = username(Some("zo\u{eb}")).unwrap().canonical;
    assert_eq!(username(Some("ZOE\u{308}")).unwrap().canonical, composed);
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
fn addresses_compare_without_case_and_are_checked() {
    assert_eq!(email(Some("Ada@Example.COM")).unwrap().canonical, "ada@example.com");
    let local = "a".repeat(64);
    let domain = format!("{}.{}.{}.example", "b".repeat(60), "c".repeat(60), "d".repeat(58));
    let longest = format!("{local}@{domain}");
    assert_eq!(longest.len(), 253);
    assert!(email(Some(&longest)).is_ok());
    let too_long = format!("{local}@{domain}xx");
    for bad in ["", "ada", "ada@", "@b.c", "a b@c.d", "a@b", "a@b.c\n", "A <a@b.c>", &too_long] {
        assert_eq!(email(Some(bad)).unwrap_err().field, "email", "{bad:?}");
    }
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
