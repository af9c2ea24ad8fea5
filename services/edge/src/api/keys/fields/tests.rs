//! Members of a body, good and faulty.

use super::*;

fn read(json: &str, by: Rules) -> Result<NewKey, Vec<String>> {
    let members: KeyMembers = serde_json::from_str(json).unwrap();
    let read = members.read(by).map(|(key, _days)| key);
    read.map_err(|faults| faults.into_iter().map(|fault| fault.field).collect())
}

fn days(json: &str) -> Result<ExpiresIn, Vec<String>> {
    read(json, Rules::Old).map(|key| key.expires_in)
}

#[test]
fn a_days_field_is_a_whole_number_or_left_out() {
    assert_eq!(days(r#"{"name": "n"}"#), Ok(ExpiresIn::Default));
    assert_eq!(days(r#"{"name": "n", "expires_in_days": null}"#), Ok(ExpiresIn::Default));
    for (written, number) in [
        ("90", 90),
        ("90.0", 90),
        ("9e1", 90),
        ("-0.0", 0),
        ("-1.00", -1),
        ("1e18", 10_i64.pow(18)),
        ("-5", -5),
    ] {
        assert_eq!(whole(&serde_json::from_str(written).unwrap()), Some(number), "{written}");
    }
    assert_eq!(days(r#"{"name": "n", "expires_in_days": 9e1}"#), Ok(ExpiresIn::Days(90)));
    for other in
        ["1.5", "\"5\"", "true", "[]", "[5]", "{}", "18446744073709551615", "1e300", "-1e300"]
    {
        let read = days(&format!(r#"{{"name": "n", "expires_in_days": {other}}}"#));
        assert_eq!(read, Ok(ExpiresIn::NotAnInteger), "{other}");
    }
    assert!(serde_json::from_str::<KeyMembers>(r#"{"expires_in_days": 1e400}"#).is_err());
    assert!(serde_json::from_str::<KeyMembers>(r#"{"name": "a", "name": "b"}"#).is_err());
}

#[test]
fn every_faulty_member_is_named() {
    let all = r#"{"name": " ", "expires_in_days": 0, "description": 7, "metadata": [], "external_id": "a b",
        "tags": ["A"], "environment": "Live", "scopes": null, "allowed_ips": null, "roles": [], "owner": {},
        "limits": [], "quota": null}"#;
    let mut faults = read(all, Rules::Old).unwrap_err();
    faults.sort_unstable();
    let mut expected = [
        "name",
        "expires_in_days",
        "description",
        "metadata",
        "external_id",
        "tags",
        "environment",
        "scopes",
        "allowed_ips",
        "roles",
        "owner",
        "limits",
        "quota",
    ];
    expected.sort_unstable();
    assert_eq!(faults, expected);
    let of_old = r#"{"name": " ", "expires_in_days": 1.5}"#;
    assert_eq!(read(of_old, Rules::Old).unwrap_err(), ["name", "expires_in_days"]);
    let both = r#"{"name": "n", "expires_in_days": 1, "expires_at": "2026-12-24T00:00:00Z"}"#;
    assert_eq!(read(both, Rules::Old).unwrap_err(), ["expires_at"]);
    for at in ["null", "7", "\"tomorrow\"", "\"2026-12-24\"", "\"2026-12-24T00:00:00\""] {
        let at = format!(r#"{{"name": "n", "expires_at": {at}}}"#);
        assert_eq!(read(&at, Rules::Old).unwrap_err(), ["expires_at"]);
    }
}

#[test]
fn what_means_another_member_names_it_and_what_means_none_is_ignored_by_old_routes() {
    for (wrong, right) in MISNAMED {
        let body = format!(r#"{{"name": "n", "{wrong}": ["a"]}}"#);
        assert_eq!(read(&body, Rules::Old).unwrap_err(), [right], "{wrong}");
    }
    let body = r#"{"name": "n", "colour": "\ud800", "note": 1e400, "scopes": []}"#;
    let key = read(body, Rules::Old).unwrap();
    assert_eq!(key.scopes, Some(Scopes::default()));
    assert_eq!(read(body, Rules::Strict).unwrap_err(), ["colour", "note"]);
    let secret = format!(r#"{{"name": "n", "scopes": [], "sk_{}": 1}}"#, "a".repeat(49));
    assert_eq!(read(&secret, Rules::Strict).unwrap_err(), ["body"]);
}

#[test]
fn new_routes_want_scopes_named() {
    assert_eq!(read(r#"{"name": "n"}"#, Rules::Strict).unwrap_err(), ["scopes"]);
    assert_eq!(read(r#"{"name": "n"}"#, Rules::Old).unwrap().scopes, None);
    let named = r#"{"name": "n", "scopes": ["b", "a", "b"]}"#;
    assert_eq!(read(named, Rules::Strict).unwrap().scopes, Some(Scopes::of(["a", "b"]).unwrap()));
}
