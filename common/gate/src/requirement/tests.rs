//! Every requirement beside principals of both kinds.

use PrincipalKind::{Service, User};
use latchkey_contract::scope::Scopes;
use latchkey_contract::{AllowedIps, Grants, UserDetail};

use super::*;
use crate::played::{EXPIRY, person, program};

const READ: &str = "latchkey:keys:read";

fn granted(principal: Principal, grants: Grants) -> Principal {
    Principal { grants: grants.into(), ..principal }
}

fn scoped(principal: Principal, scopes: &str) -> Principal {
    let grants = Grants { scopes: Scopes::parse(scopes).unwrap(), ..Grants::default() };
    granted(principal, grants)
}

fn key() -> Principal {
    program(1, EXPIRY)
}

fn user() -> Principal {
    person(true)
}

fn any_of(texts: &[&str]) -> ScopeRequirement {
    ScopeRequirement::any_of(texts.iter().copied()).unwrap()
}

fn judge(requirement: Requirement<'_>, principal: &Principal) -> Result<(), Unmet> {
    requirement.judge(principal, || panic!("it may be used from anywhere"))
}

#[test]
fn whoever_is_of_the_wrong_kind_is_told_so() {
    assert_eq!(judge(Requirement::ANYBODY, &key()), Ok(()));
    assert_eq!(judge(Requirement::ANYBODY, &user()), Ok(()));
    for requirement in [Requirement::USER, Requirement::of_kind(User)] {
        assert_eq!(judge(requirement, &user()), Ok(()));
        assert_eq!(judge(requirement, &key()), Err(Unmet::WrongKind(User)));
    }
    for requirement in [Requirement::SERVICE, Requirement::of_kind(Service)] {
        assert_eq!(judge(requirement, &key()), Ok(()));
        assert_eq!(judge(requirement, &user()), Err(Unmet::WrongKind(Service)));
    }
}

#[test]
fn what_is_looked_at_and_what_the_principal_has_to_be() {
    for (requirement, forms, kind) in [
        (Requirement::ANYBODY, &[Form::Token, Form::Key][..], None),
        (Requirement::USER, &[Form::Token], Some(User)),
        (Requirement::SERVICE, &[Form::Key], Some(Service)),
        (Requirement::of_kind(User), &[Form::Token, Form::Key], Some(User)),
        (Requirement::of_kind(Service), &[Form::Token, Form::Key], Some(Service)),
    ] {
        assert_eq!((requirement.forms(), requirement.kind()), (forms, kind));
        assert_eq!(requirement.scopes().count(), 0);
    }
}

#[test]
fn scopes_are_needed_of_users_and_keys_alike() {
    let needed = any_of(&["orders:read orders:write", "admin"]);
    let requirement = Requirement::ANYBODY.and_scopes(Some(&needed));
    assert_eq!(requirement.scopes().collect::<Vec<_>>(), ["orders:read orders:write", "admin"]);
    for principal in [key(), user()] {
        for (scopes, is_enough) in [
            ("orders:read orders:write", true),
            ("orders:*", true),
            ("admin", true),
            ("*", true),
            ("orders:read", false),
            ("", false),
        ] {
            let judged = judge(requirement, &scoped(principal.clone(), scopes));
            assert_eq!(judged.is_ok(), is_enough, "{scopes:?}");
        }
    }
    let reserved = any_of(&["latchkey:verify"]);
    let requirement = Requirement::ANYBODY.and_scopes(Some(&reserved));
    assert_eq!(judge(requirement, &scoped(key(), "*")), Err(Unmet::InsufficientScope));
    assert_eq!(Requirement::ANYBODY.and_scopes(None), Requirement::ANYBODY);
}

#[test]
fn an_environment_is_a_keys_own() {
    let live = Grants { environment: Some("live".into()), ..Grants::everything() };
    let requirement = |named| Requirement::ANYBODY.and_environment(named);
    for (named, judged) in [
        (None, Ok(())),
        (Some("live"), Ok(())),
        (Some("test"), Err(Unmet::WrongEnvironment)),
        (Some("LIVE"), Err(Unmet::WrongEnvironment)),
    ] {
        assert_eq!(judge(requirement(named), &granted(key(), live.clone())), judged);
    }
    // A user's token is for none, and so is what a release before told of a key.
    for principal in [user(), key()] {
        assert_eq!(judge(requirement(Some("live")), &principal), Err(Unmet::WrongEnvironment));
        assert_eq!(judge(requirement(None), &principal), Ok(()));
    }
}

#[test]
fn a_key_with_a_list_of_addresses_is_denied_from_elsewhere_and_from_nobody_knows_where() {
    let allowed_ips = AllowedIps::of(["203.0.113.0/24", "2001:db8::/32"]).unwrap();
    let key = granted(key(), Grants { allowed_ips, ..Grants::everything() });
    for (client, is_allowed) in [
        (Some("203.0.113.7"), true),
        (Some("::ffff:203.0.113.7"), true),
        (Some("2001:db8::7"), true),
        (Some("203.0.114.7"), false),
        (Some("::1"), false),
        (None, false),
    ] {
        let client = client.map(|text| text.parse().unwrap());
        for requirement in [Requirement::ANYBODY, Requirement::SERVICE] {
            let judged = requirement.judge(&key, || client);
            let expected = if is_allowed { Ok(()) } else { Err(Unmet::IpDenied) };
            assert_eq!(judged, expected, "{client:?}");
        }
    }
}

#[test]
fn keys_are_managed_by_users_and_by_keys_and_narrowed_tokens_that_hold_the_scope() {
    let narrowed = || {
        let Detail::User(user) = user().detail else { panic!("a person is a user") };
        let user = UserDetail { is_narrowed: true, ..*user };
        Principal { detail: Detail::User(user.into()), ..person(true) }
    };
    for (principal, judged) in [
        (scoped(user(), ""), Ok(())),
        (scoped(narrowed(), READ), Ok(())),
        (scoped(narrowed(), "*"), Err(Unmet::InsufficientScope)),
        (scoped(narrowed(), ""), Err(Unmet::InsufficientScope)),
        (scoped(key(), READ), Ok(())),
        (scoped(key(), "latchkey:keys:*"), Ok(())),
        (scoped(key(), "*"), Err(Unmet::WrongKind(User))),
        (scoped(key(), ""), Err(Unmet::WrongKind(User))),
        (scoped(key(), "latchkey:keys:write"), Err(Unmet::InsufficientScope)),
    ] {
        assert_eq!(judge(Requirement::managing(READ), &principal), judged);
        assert_eq!(judge(Requirement::ANYBODY, &principal), Ok(()));
    }
    assert_eq!(Requirement::managing(READ).manages(), Some(READ));
    assert_eq!(Requirement::managing(READ).scopes().collect::<Vec<_>>(), [READ]);
}

#[test]
fn the_first_that_fails_is_the_outcome() {
    let needed = any_of(&["admin"]);
    let allowed_ips = AllowedIps::of(["203.0.113.7"]).unwrap();
    let environment = Some("live".into());
    let poor = granted(key(), Grants { environment, allowed_ips, ..Grants::default() });
    let here = || Some("203.0.113.7".parse().unwrap());
    let all = Requirement::of_kind(User).and_environment(Some("test")).and_scopes(Some(&needed));
    let mut judged = vec![all.judge(&poor, || None)];
    judged.push(all.and_kind(Some(Service)).judge(&poor, || None));
    judged.push(all.and_kind(None).and_environment(Some("live")).judge(&poor, || None));
    judged.push(all.and_kind(None).and_environment(None).judge(&poor, here));
    let unmet: Vec<_> = judged.into_iter().map(Result::unwrap_err).collect();
    let order = [
        Unmet::WrongKind(User),
        Unmet::WrongEnvironment,
        Unmet::IpDenied,
        Unmet::InsufficientScope,
    ];
    assert_eq!(unmet, order);
    let codes = order.map(|unmet| Outcome::from(unmet).code());
    assert_eq!(codes, ["wrong_kind", "wrong_environment", "ip_denied", "insufficient_scope"]);
    assert_eq!(Requirement::ANYBODY.judge(&poor, here), Ok(()));
}
