//! Logins that ask for scopes, and ceilings, by the contract before.

use super::pinned;
use crate::authority::Receipt;
use crate::identity::{CeilingSet, LogIn, LogOutAll, LoggedIn, NextRefresh, SetCeiling, UserState};
use crate::keys::{CeilingsTold, SetDefaultCeiling, SetOwner, TellOwners, Telling, ToldOwner};
use crate::lease::{Epoch, Revision};
use crate::message::Message;
use crate::scope::Scopes;
use crate::{Mark, Secret, UserId};

const OF: Epoch = Epoch { made: 1, timeline: 2 };

fn page(owners: Vec<ToldOwner>, default: Option<&str>) -> TellOwners {
    let (version, revision, after, more) = (3, Revision(4), None, false);
    let default_ceiling = default.map(|text| Scopes::parse(text).unwrap());
    TellOwners { version, keys: OF, of: OF, revision, after, owners, more, default_ceiling }
}

#[test]
fn a_login_that_asks_for_scopes_is_none_to_the_release_before() {
    let login = LogIn {
        username: Some("a".to_owned()),
        password: None,
        mark: None,
        scope: None,
        refresh: Some(false),
        device: None,
    };
    pinned(&login, &[1, 1, b'a', 0, 0, 0, 1, 0, 0], &[1, 1, b'a', 0, 0]);
    assert!(LogIn { scope: Some("b".to_owned()), ..login.clone() }.into_previous().is_err());
    for refresh in [Some(true), None] {
        assert!(LogIn { refresh, ..login.clone() }.into_previous().is_err());
    }
    assert!(LogIn { device: Some("b".to_owned()), ..login }.into_previous().is_ok());
    let token = Secret::new("t".to_owned());
    let bare = LoggedIn { access_token: token.clone(), expires_in: 9, scope: None, refresh: None };
    pinned(&bare, &[1, b't', 9, 0, 0], &[1, b't', 9]);
    let refresh = Some(NextRefresh { token, expires_in: 7 });
    assert!(LoggedIn { refresh, ..bare.clone() }.into_previous().is_err());
    assert!(LoggedIn { scope: Some(Scopes::default()), ..bare }.into_previous().is_err());
}

#[test]
fn a_logout_from_all_but_one_session_is_none_from_all() {
    let all = LogOutAll { user: UserId(1), through: 2, keep_current: false };
    pinned(&all, &[2, 4, 0], &[2, 4]);
    assert!(LogOutAll { keep_current: true, ..all }.into_previous().is_err());
}

#[test]
fn the_state_of_a_user_at_the_release_before_has_no_version_that_a_ceiling_has() {
    let state = |ceiling_version| UserState {
        user: UserId(1),
        version: 2,
        active_version: 3,
        last_session: 4,
        ceiling_version,
    };
    pinned(&state(-1), &[2, 4, 6, 8, 1], &[2, 4, 6, 8]);
    assert_eq!(UserState::from_previous(state(5).into_previous().unwrap()).unwrap(), state(-1));
}

#[test]
fn a_ceiling_is_told_to_nobody_who_would_not_keep_to_it() {
    let owner = |ceiling| SetOwner {
        owner: UserId(1),
        disabled: true,
        ceiling,
        epoch: OF,
        revision: Revision(3),
    };
    pinned(&owner(None), &[2, 1, 0, 2, 4, 6], &[2, 1, 2, 4, 6]);
    assert!(owner(Some(Scopes::everything())).into_previous().is_err());

    let told = |disabled, ceiling| ToldOwner { owner: UserId(1), disabled, ceiling };
    pinned(
        &page(vec![told(true, None)], None),
        &[6, 2, 4, 2, 4, 8, 0, 1, 2, 1, 0, 0, 0],
        &[6, 2, 4, 2, 4, 8, 0, 1, 2, 0],
    );
    assert!(page(Vec::new(), Some("* a")).into_previous().is_ok());
    let restricted = [
        page(Vec::new(), Some("a")),
        page(Vec::new(), Some("")),
        page(vec![told(true, Some(Scopes::default()))], Some("*")),
        page(vec![told(false, Some(Scopes::everything()))], Some("*")),
    ];
    for page in restricted {
        assert!(page.clone().into_previous().is_err(), "{page:?}");
    }
}

#[test]
fn how_far_the_release_before_was_told_is_all_that_it_can_be_told() {
    let telling = |ceilings| Telling {
        version: 1,
        epoch: OF,
        is_current: true,
        of: Some(OF),
        revision: Revision(2),
        through: None,
        ceilings,
    };
    let unknown = telling(CeilingsTold::Unknown);
    pinned(&unknown, &[2, 2, 4, 1, 1, 2, 4, 4, 0, 0], &[2, 2, 4, 1, 1, 2, 4, 4, 0]);
    assert!(unknown.is_complete(OF));
    assert!(!telling(CeilingsTold::Untold).is_complete(OF));
    assert!(telling(CeilingsTold::Of(1)).is_complete(OF));
    assert!(!telling(CeilingsTold::Of(2)).is_complete(OF));
}

#[test]
fn what_the_release_before_does_not_know_is_written_the_same_by_both() {
    let ceiling = Scopes::parse("a b").unwrap();
    let set = SetCeiling {
        user: UserId(1),
        ceiling: Some(ceiling.clone()),
        version: 2,
        mark: Mark([7; 16]),
    };
    let bytes = [&[2, 1, 3, b'a', b' ', b'b', 4][..], &[7; 16]].concat();
    pinned(&set, &bytes, &bytes);
    let default = SetDefaultCeiling { ceiling, epoch: OF, revision: Revision(3) };
    let bytes = [3, b'a', b' ', b'b', 2, 4, 6];
    pinned(&default, &bytes, &bytes);
    let tokens = Receipt { revision: Revision(1), edges_confirmed: 2, waited_ms: 3 };
    let done = CeilingSet { user: UserId(1), tokens, keys: None };
    pinned(&done, &[2, 2, 2, 3, 0], &[2, 2, 2, 3, 0]);
}

#[test]
fn a_page_of_the_longest_ceilings_is_a_message() {
    let grants: Vec<String> =
        (0..64).map(|number| format!("s{number:02}{}", "x".repeat(28))).collect();
    let ceiling = Scopes::of(grants.iter().map(String::as_str)).unwrap();
    let of = |number| ToldOwner {
        owner: UserId(i64::MAX - number),
        disabled: true,
        ceiling: Some(ceiling.clone()),
    };
    let fit = TellOwners::MAX_TEXT / ceiling.as_text().len();
    let mut owners: Vec<ToldOwner> = (0..).take(fit).map(of).collect();
    owners.resize_with(TellOwners::MAX, || ToldOwner { ceiling: None, ..of(0) });
    let page = page(owners, Some(ceiling.as_text()));
    let bytes = crate::wire::encode(&page, crate::wire::CONTRACT).unwrap();
    assert!(bytes.len() <= crate::wire::MAX_MESSAGE, "{}", bytes.len());
}
