//! Addresses of many scripts, and at their edges.

use super::*;

fn compared(text: &str) -> String {
    email(Some(text)).unwrap_or_else(|fault| panic!("{text:?}: {fault:?}")).folded
}

#[test]
fn addresses_of_many_scripts_are_addresses_with_their_domain_as_the_dns_has_it() {
    for (text, domain) in [
        // Latin, Greek, Cyrillic, Armenian, Georgian
        ("Dörte@Sörensen.example", "xn--srensen-90a.example"),
        ("Pelé@exämple.com", "xn--exmple-cua.com"),
        ("ερωτήσεις@ελλάδα.ελ", "xn--hxakic4aa.xn--qxam"),
        ("квіточка@пошта.укр", "xn--80a1acn3a.xn--j1amh"),
        ("коля@почта.рф", "xn--80a1acny.xn--p1ai"),
        ("հարցում@փոստ.հայ", "xn--mbbkgn.xn--y9a3aq"),
        ("კითხვა@ფოსტა.გე", "xn--lodzmeh.xn--node"),
        // Hebrew, Arabic, Persian
        ("שאלה@דואר.קום", "xn--4dbfg1f.xn--9dbq2a"),
        ("اسأل@موقع.وزارة-الاتصالات.مصر", "xn--4gbrim.xn----ymcbaaajlc6dj7bxne2c.xn--wgbh1c"),
        ("می\u{200c}خواهم@ایمیل.ایران", "xn--mgb2dc35cb.xn--mgba3a4f16a"),
        // Devanagari, Bengali, Tamil, Sinhala, Thai, Khmer, Ethiopic
        ("संपर्क@डाटामेल.भारत", "xn--c2bd4bq1db8d.xn--h2brj9c"),
        ("प्रश्न@उदाहरण.भारत", "xn--p1b6ci4b4b3a.xn--h2brj9c"),
        ("যোগাযোগ@ডাটামেইল.ভারত", "xn--b5b1cf7cva2eb7e.xn--45brj9c"),
        ("தொடர்பு@மின்னஞ்சல்.இந்தியா", "xn--hlch6aax2a0g7ecc.xn--xkc2dl3a5ee0h"),
        ("ශ්\u{200d}රී@ලංකා.ලංකා", "xn--fzc2c9e2c.xn--fzc2c9e2c"),
        ("ติดต่อ@อีเมล.ไทย", "xn--y3ciw6a5c.xn--o3cw4h"),
        ("សួស្តី@ឧទាហរណ៍.com", "xn--w2ef1ax7a5fyh.com"),
        ("ጥያቄ@ምሳሌ.com", "xn--mxd7a1d.com"),
        // Han, Kana, Hangul
        ("伊昭傑@郵件.商務", "xn--5nqv22n.xn--lhr59c"),
        ("用户@例子.广告", "xn--fsqu00a.xn--4rr70v"),
        ("お問い合わせ@例え.テスト", "xn--r8jz45g.xn--zckzah"),
        ("문의@이메일.한국", "xn--h32b13vza.xn--3e0b707e"),
    ] {
        let folded = compared(text);
        let (_, name) = folded.rsplit_once('@').unwrap();
        assert_eq!(name, domain, "{text}");
        // The same domain, written as the domain name system has it, is the same address.
        let (local, _) = text.rsplit_once('@').unwrap();
        assert_eq!(compared(&format!("{local}@{name}")), folded);
        assert_eq!(compared(&text.to_uppercase()), folded, "{text}");
    }
}

#[test]
fn addresses_compare_without_case_and_normalised() {
    for same in [
        ["Ada@Example.COM", "ada@example.com"],
        ["zoe\u{308}@example.com", "ZO\u{cb}@example.com"],
        ["Σίσυφος@example.com", "ΣΊΣΥΦΟΣ@example.com"],
        ["ada@BÜCHER.example", "ada@xn--bcher-kva.example"],
        ["ada@bu\u{308}cher.example", "ada@bücher.example"],
        ["伊昭傑@郵件\u{3002}商務", "伊昭傑@郵件.商務"],
        ["ada@ｅｘａｍｐｌｅ.com", "ada@example.com"],
    ] {
        assert_eq!(compared(same[0]), compared(same[1]));
    }
    // IDNA2008 tells these domains apart.
    assert_ne!(compared("ada@straße.example"), compared("ada@strasse.example"));
    assert_eq!(compared("\"a b\"@example.com"), "\"a b\"@example.com");
}

#[test]
fn the_longest_address_has_254_characters() {
    let local = "a".repeat(64);
    let domain = format!("{}.{}.{}.example", "b".repeat(60), "c".repeat(60), "d".repeat(59));
    let longest = format!("{local}@{domain}");
    assert_eq!(longest.len(), EMAIL_MAX);
    assert!(email(Some(&longest)).is_ok());
    assert!(email(Some(&format!("{local}@x{domain}"))).is_err());
    assert!(email(Some(&format!("a{local}@example.com"))).is_err(), "65 bytes before the @");
    assert!(email(Some(&format!("a@{}.com", "b".repeat(64)))).is_err(), "a label of 64");
    assert!(email(Some(&format!("{}@example.com", "क".repeat(21)))).is_ok());
    assert!(email(Some(&format!("{}@example.com", "क".repeat(22)))).is_err(), "66 bytes");
}

#[test]
fn what_is_no_address_is_refused() {
    for bad in [
        "",
        "ada",
        "ada@",
        "@b.c",
        "a b@c.d",
        "a@b",
        "a@b.c\n",
        "A <a@b.c>",
        ".a@b.c",
        "a.@b.c",
        "a..b@c.d",
        "a@b..c",
        "a@.b.c",
        "a@b.c.",
        "a@-b.c",
        "a@b-.c",
        "a@b_c.d",
        "a@b c.d",
        "a@[127.0.0.1]",
        "a,b@c.d",
        "a\u{a0}b@c.d",
        "a\u{3000}@c.d",
        "a\u{200b}@c.d",
        "\u{200f}a@c.d",
        "a\u{202e}@c.d",
        "a\u{ad}b@c.d",
        "a\u{e0041}@c.d",
        "a@b\u{202e}.c",
        "a@xn--a.c",
        "\"\"@b.c",
        "\"a\"b\"@c.d",
        "\"a\n\"@c.d",
        "a\0@b.c",
    ] {
        assert_eq!(email(Some(bad)).map(drop).unwrap_err().field, "email", "{bad:?}");
    }
    assert!(email(None).is_err());
}
