//! What the settings of keys accept, and which do not go together.

use super::*;

fn read(values: &[(&str, &str)]) -> Result<Config, String> {
    let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::read(&Environment::of(values)).map_err(|error| error.to_string())
}

#[test]
fn without_settings_keys_are_as_they_were_in_every_release() {
    let config = read(&[]).unwrap();
    assert_eq!(config.prefix, KeyPrefix::default());
    assert_eq!(config.environments.first().as_str(), "live");
    assert!(config.environments.find("sandbox").is_some());
    assert_eq!((config.expire_days, config.max_days), (365, 3_650));
    assert_eq!((config.rotate_grace_seconds, config.per_owner), (86_400, Some(1_000)));
    assert_eq!(config.default_scopes, Scopes::everything());
}

#[test]
fn what_is_set_is_read() {
    let config = read(&[
        ("API_KEY_PREFIX", "acme"),
        ("API_KEY_ENVIRONMENTS", "prod,test, eu"),
        ("API_KEY_EXPIRE_DAYS", "30"),
        ("API_KEY_MAX_DAYS", "30"),
        ("API_KEY_ROTATE_GRACE_SECONDS", "0"),
        ("API_KEY_DEFAULT_SCOPES", "orders:* users:read"),
        ("API_KEYS_PER_OWNER", "off"),
    ]);
    let config = config.unwrap();
    assert_eq!(config.prefix.as_str(), "acme");
    assert_eq!(config.environments, Environments::parse("prod,test,eu").unwrap());
    assert_eq!((config.expire_days, config.max_days), (30, 30));
    assert_eq!((config.rotate_grace_seconds, config.per_owner), (0, None));
    assert_eq!(config.default_scopes.as_text(), "orders:* users:read");
    let none = read(&[("API_KEY_DEFAULT_SCOPES", "")]).unwrap();
    assert!(none.default_scopes.is_empty(), "nothing is no scope at all, and not all of them");
    assert_eq!(read(&[("API_KEYS_PER_OWNER", "1000000")]).unwrap().per_owner, Some(1_000_000));
}

#[test]
fn a_bad_value_is_told_by_its_variable() {
    let bad = [
        ("API_KEY_PREFIX", &["s", "0k", "Sk", "sk_", "a_b", "a2345678901234567", "sk live"][..]),
        ("API_KEY_ENVIRONMENTS", &[",", "live,live", "Live", "l", "live,sand-box", "live;test"]),
        ("API_KEY_ENVIRONMENTS", &["e1,e2,e3,e4,e5,e6,e7,e8,e9", "live,test", "main,live"]),
        ("API_KEY_MAX_DAYS", &["0", "3651", "-1", "year", "364"]),
        ("API_KEY_EXPIRE_DAYS", &["0", "3651", "1.5"]),
        ("API_KEY_ROTATE_GRACE_SECONDS", &["-1", "7776001", "1d"]),
        ("API_KEY_DEFAULT_SCOPES", &["a  b", " ", "a,b", "ü", "orders*", "* :orders"]),
        ("API_KEYS_PER_OWNER", &["0", "1000001", "none", "-1", "OFF"]),
    ];
    for (name, values) in bad {
        for value in values {
            let error = read(&[(name, value)]).unwrap_err();
            // Which of the two is too much is for whoever set them to say.
            let named = if *value == "364" { "API_KEY_EXPIRE_DAYS" } else { name };
            assert!(error.starts_with(&format!("{named}: ")), "{name}={value}: {error}");
            assert!(error.contains("; accepted: ") && error.lines().count() == 1, "{error}");
        }
    }
}

#[test]
fn names_of_another_companys_keys_are_told_with_what_to_do() {
    for (prefix, names) in
        [("sk", "live,test"), ("rk", "main,live"), ("pk", "main,sandbox,prod,org")]
    {
        let error =
            read(&[("API_KEY_PREFIX", prefix), ("API_KEY_ENVIRONMENTS", names)]).unwrap_err();
        assert!(error.contains("API_KEY_PREFIX") && error.contains("another company"), "{error}");
    }
    assert!(read(&[("API_KEY_PREFIX", "acme"), ("API_KEY_ENVIRONMENTS", "live,test")]).is_ok());
}
