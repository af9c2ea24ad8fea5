//! When an old key ends.

use latchkey_contract::keys::{KeyTarget, SEED_MIN};
use latchkey_contract::{KeyId, Mark, Secret, UserId};
use latchkey_runtime::Environment;

use super::*;

const NOW: Timestamp = Timestamp(1_000_000);

fn request(grace: Grace, reason: RevocationReason, confirm: bool) -> RotateKey {
    let (owner, key, mark) = (UserId(1), KeyId(7), Mark([1; 16]));
    RotateKey {
        target: KeyTarget { owner, key, version: 1, mark, narrowed: None },
        grace,
        expires_in: ExpiresIn::Default,
        reason,
        confirm,
        is_self: false,
        seed: Secret::new("s".repeat(SEED_MIN)),
        idempotency: None,
        wait: true,
    }
}

fn config(seconds: &str) -> Config {
    let variables = [("API_KEY_ROTATE_GRACE_SECONDS".to_owned(), seconds.to_owned())];
    Config::read(&Environment::of(variables)).unwrap()
}

#[test]
fn an_old_key_ends_at_once_after_some_seconds_or_at_a_moment() {
    let of = |grace, seconds: &str| {
        let request = request(grace, RevocationReason::Superseded, false);
        super::grace(&request, &config(seconds), NOW).map_err(|fault| fault.field)
    };
    assert_eq!(of(Grace::Default, "60"), Ok(Some(Timestamp(1_060_000))));
    assert_eq!(of(Grace::Default, "0"), Ok(None));
    assert_eq!(of(Grace::Seconds(0), "60"), Ok(None));
    assert_eq!(of(Grace::Seconds(5), "60"), Ok(Some(Timestamp(1_005_000))));
    assert_eq!(of(Grace::Until(Timestamp(1_000_001)), "60"), Ok(Some(Timestamp(1_000_001))));
    for (grace, field) in [
        (Grace::Seconds(-1), "grace_seconds"),
        (Grace::Seconds(i64::MAX), "grace_seconds"),
        (Grace::Until(NOW), "until"),
    ] {
        assert_eq!(of(grace, "60"), Err(field.to_owned()));
    }
}

#[test]
fn a_key_that_is_somebody_elses_has_a_grace_only_where_that_is_confirmed() {
    let of = |grace, confirm, seconds: &str| {
        let request = request(grace, RevocationReason::KeyCompromise, confirm);
        super::grace(&request, &config(seconds), NOW).map_err(|fault| fault.field)
    };
    for (grace, seconds) in [
        (Grace::Default, "60"),
        (Grace::Seconds(1), "60"),
        (Grace::Until(Timestamp(2_000_000)), "60"),
    ] {
        assert_eq!(of(grace, false, seconds), Err("grace_seconds".to_owned()));
        assert!(matches!(of(grace, true, seconds), Ok(Some(_))));
    }
    assert_eq!(of(Grace::Default, false, "0"), Ok(None));
    assert_eq!(of(Grace::Seconds(0), false, "60"), Ok(None));
}
