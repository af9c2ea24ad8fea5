//! Address ranges and metadata: what they take, and what they are worth.

use serde_json::json;

use super::*;

fn ips(ranges: &[&str]) -> AllowedIps {
    AllowedIps::of(ranges.iter().copied()).unwrap()
}

#[test]
fn ranges_are_kept_once_and_in_order_and_read_back() {
    let list = ips(&["203.0.113.7", "10.0.0.0/8", "2001:db8::/32", "10.0.0.0/8"]);
    assert_eq!(list.to_string(), "10.0.0.0/8 203.0.113.7/32 2001:db8::/32");
    assert_eq!(AllowedIps::parse(&list.to_string()), Ok(list));
    assert_eq!(AllowedIps::parse(""), Ok(AllowedIps::default()));
    for wrong in [
        "",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "::ffff:10.0.0.0/104",
        "::ffff:10.0.0.1",
        "host",
        " 10.0.0.0/8",
    ] {
        assert_eq!(AllowedIps::of(["10.0.0.0/8", wrong]), Err(IpsError::NoRange(1)), "{wrong}");
    }
    let many: Vec<String> = (0..=MAX_IPS).map(|number| format!("10.0.0.{number}")).collect();
    assert_eq!(AllowedIps::of(many.iter().map(String::as_str)), Err(IpsError::TooMany));
    assert!(AllowedIps::of(many[1..].iter().map(String::as_str)).is_ok());
}

#[test]
fn an_address_is_allowed_by_its_range_and_one_that_nobody_knows_by_no_list_alone() {
    let list = ips(&["10.0.0.0/8", "2001:db8::/32"]);
    let allowed = |address: &str| list.allow(Some(address.parse().unwrap()));
    for (address, is_allowed) in [
        ("10.255.0.1", true),
        ("::ffff:10.0.0.1", true),
        ("11.0.0.1", false),
        ("2001:db8:1::1", true),
        ("2001:db9::1", false),
    ] {
        assert_eq!(allowed(address), is_allowed, "{address}");
    }
    assert!(!list.allow(None));
    assert!(AllowedIps::default().allow(None));
}

#[test]
fn a_list_is_within_another_range_by_range_and_no_list_is_the_widest() {
    let (any, net, part) =
        (AllowedIps::default(), ips(&["10.0.0.0/8"]), ips(&["10.1.0.0/16", "10.2.0.1"]));
    for (one, other, is_within) in [
        (&any, &any, true),
        (&net, &any, true),
        (&any, &net, false),
        (&part, &net, true),
        (&net, &part, false),
        (&net, &net, true),
        (&ips(&["10.0.0.1", "11.0.0.1"]), &net, false),
        (&ips(&["::/0"]), &net, false),
    ] {
        assert_eq!(one.is_within(other), is_within, "{one} in {other}");
    }
}

#[test]
fn metadata_is_a_small_flat_object() {
    let good = json!({"b": 1, "a": "x", "c.d_e-F": true, "n": null, "f": 1.5});
    let metadata = Metadata::of(&good).unwrap();
    assert_eq!(metadata.to_value(), good);
    assert_eq!(Metadata::parse(metadata.as_text()), Ok(metadata));
    assert_eq!(Metadata::of(&json!({})), Ok(Metadata::default()));
    assert_eq!(Metadata::default().to_value(), json!({}));
    let many: Map<String, Value> =
        (0..=MAX_MEMBERS).map(|n| (n.to_string(), Value::Null)).collect();
    let long: Map<String, Value> =
        (0..5).map(|n| (n.to_string(), "x".repeat(MAX_MEMBER_TEXT).into())).collect();
    for (value, error) in [
        (json!([]), MetadataError::NoObject),
        (json!(null), MetadataError::NoObject),
        (Value::Object(many), MetadataError::TooMany),
        (json!({"": 1}), MetadataError::Name),
        (json!({"a b": 1}), MetadataError::Name),
        (json!({ "x".repeat(MAX_MEMBER_NAME + 1): 1 }), MetadataError::Name),
        (json!({"a": []}), MetadataError::Value),
        (json!({"a": {}}), MetadataError::Value),
        (json!({"a": "x".repeat(MAX_MEMBER_TEXT + 1)}), MetadataError::Value),
        (Value::Object(long), MetadataError::TooLong),
    ] {
        assert_eq!(Metadata::of(&value), Err(error), "{value}");
    }
    assert!(
        Metadata::of(&json!({"a": "\u{10400}".repeat(MAX_MEMBER_TEXT - 1)})).is_err(),
        "bytes count in all"
    );
    assert!(Metadata::of(&json!({"a": "ä".repeat(MAX_MEMBER_TEXT)})).is_ok());
}

#[test]
fn what_restricts_is_known_and_nothing_else() {
    assert!(Grants::everything().is_unrestricted());
    assert!(!Grants::default().is_unrestricted());
    let part = Grants { scopes: Scopes::of(["a:*"]).unwrap(), ..Grants::default() };
    assert!(!part.is_unrestricted());
    assert!(!Grants { allowed_ips: ips(&["::1"]), ..Grants::everything() }.is_unrestricted());
    let metadata = Metadata::of(&json!({"a": 1})).unwrap();
    let noted = Grants { metadata, environment: Some("live".into()), ..Grants::everything() };
    assert!(noted.is_unrestricted());
    let more =
        Grants { scopes: Scopes::of(["*", "latchkey:verify"]).unwrap(), ..Grants::default() };
    assert!(more.is_unrestricted());
}
