//! Principals in memory.

use std::borrow::Borrow;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use latchkey_contract::lease::SharedTag;
use latchkey_contract::{Detail, Principal, Stored, Timestamp, UserDetail, Verdict};
use latchkey_revocation::{CacheableVerdict, Kept, Weigh};
use smol_str::SmolStr;

use crate::intern::Interner;

/// A principal as it is remembered: handed out without being copied.
#[derive(Clone, Debug)]
pub struct Remembered(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    principal: Principal,
    /// The last report of uses that this one is in.
    report: AtomicU32,
    /// Bytes of its grants that are counted here; others that were granted the same hold the same value.
    grants_bytes: u32,
}

impl Remembered {
    /// Takes a principal whose grants are everybody's.
    #[cfg(test)]
    pub(crate) fn new(principal: Principal) -> Self {
        Self(Arc::new(Shared { principal, report: AtomicU32::new(0), grants_bytes: 0 }))
    }

    /// Takes a principal, with its grants as `known` has them.
    pub(crate) fn shared(principal: Principal, known: &Interner) -> Self {
        let (grants, bytes) = known.share(principal.grants);
        let grants_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let principal = Principal { grants, ..principal };
        Self(Arc::new(Shared { principal, report: AtomicU32::new(0), grants_bytes }))
    }

    /// Whether this is asked for the first time for this report.
    pub(crate) fn is_first_in(&self, report: u32) -> bool {
        self.0.report.load(Ordering::Relaxed) != report
            && self.0.report.swap(report, Ordering::Relaxed) != report
    }
}

impl Deref for Remembered {
    type Target = Principal;

    fn deref(&self) -> &Principal {
        &self.0.principal
    }
}

impl Borrow<Principal> for Remembered {
    fn borrow(&self) -> &Principal {
        self
    }
}

/// What an authority said of a credential, as it is remembered.
#[derive(Clone, Debug)]
pub struct Judged(pub(crate) Verdict<Remembered>);

/// Bytes of the two counters that stand before a shared value.
const COUNTERS: usize = 2 * size_of::<usize>();

impl Remembered {
    fn heap_bytes(&self) -> usize {
        let detail = match &self.detail {
            Detail::User(user) => {
                size_of::<UserDetail>() + heap_of(&user.username) + heap_of(&user.email)
            }
            Detail::Key(key) => heap_of(&key.name),
        };
        COUNTERS + size_of::<Shared>() + detail + self.0.grants_bytes as usize
    }
}

/// What a text takes that is too long to stand where its owner stands.
fn heap_of(text: &SmolStr) -> usize {
    if text.is_heap_allocated() { 2 * size_of::<usize>() + text.len() } else { 0 }
}

impl Weigh for Judged {
    fn heap_bytes(&self) -> usize {
        match &self.0 {
            Verdict::Valid(principal) => principal.heap_bytes(),
            Verdict::Expired(Some(_)) | Verdict::Inactive(Some(_)) | Verdict::Disabled(Some(_)) => {
                size_of::<Stored>()
            }
            Verdict::Expired(None)
            | Verdict::Inactive(None)
            | Verdict::Disabled(None)
            | Verdict::Malformed
            | Verdict::Unknown
            | Verdict::Revoked => 0,
        }
    }
}

impl CacheableVerdict for Judged {
    fn kept(&self) -> Kept {
        match &self.0 {
            Verdict::Valid(principal) if principal.is_named_by_its_text() => Kept::AsGood,
            Verdict::Unknown
            | Verdict::Expired(Some(_))
            | Verdict::Inactive(Some(_))
            | Verdict::Disabled(Some(_)) => Kept::AsRefusal,
            Verdict::Revoked => Kept::AsFact,
            // No change names what these depend on.
            Verdict::Valid(_)
            | Verdict::Malformed
            | Verdict::Expired(None)
            | Verdict::Inactive(None)
            | Verdict::Disabled(None) => Kept::Not,
        }
    }

    /// What the authority called expired has to be so by the clock here too: either clock may be stepped back.
    fn holds_at(&self, wall: Timestamp) -> bool {
        match &self.0 {
            Verdict::Valid(principal) => wall < principal.expires_at,
            Verdict::Expired(Some(stored)) => wall >= stored.expires_at,
            Verdict::Inactive(Some(stored)) | Verdict::Disabled(Some(stored)) => {
                wall < stored.expires_at
            }
            Verdict::Expired(None) | Verdict::Inactive(None) | Verdict::Disabled(None) => false,
            Verdict::Malformed | Verdict::Unknown | Verdict::Revoked => true,
        }
    }

    fn tags(&self) -> impl Iterator<Item = SharedTag> {
        let session = match &self.0 {
            Verdict::Valid(principal) => principal.user().map(|user| user.session),
            _ => None,
        };
        let owner = match &self.0 {
            Verdict::Valid(principal) => Some(principal.owner()),
            Verdict::Expired(stored) | Verdict::Inactive(stored) | Verdict::Disabled(stored) => {
                stored.as_ref().map(|stored| stored.owner)
            }
            Verdict::Malformed | Verdict::Unknown | Verdict::Revoked => None,
        };
        let owner = owner.into_iter().map(SharedTag::Owner);
        owner.chain(session.map(SharedTag::Session))
    }
}

#[cfg(test)]
mod tests {
    use latchkey_contract::{Grants, KeyDetail, KeyId, Owner, UserId};

    use super::*;
    use crate::played::{EXPIRY, OWNER, person, program};

    #[test]
    fn what_is_remembered_of_a_key_stays_small() {
        let owner = Owner::User(UserId(1));
        let key = KeyDetail {
            id: KeyId(1),
            owner,
            name: SmolStr::new("a name of 23 characters"),
            lineage: KeyId(1),
        };
        let grants = Arc::new(Grants::everything());
        let principal = Principal { expires_at: Timestamp(1), detail: Detail::Key(key), grants };
        let judged = Judged(Verdict::Valid(Remembered::new(principal)));
        assert_eq!(size_of::<Judged>(), 2 * size_of::<usize>());
        // What it takes on the heap, which allocators round up to 96; its grants are shared.
        assert!(judged.heap_bytes() <= 88, "{}", judged.heap_bytes());
    }

    #[test]
    fn what_was_granted_is_weighed_with_whoever_is_charged_for_it() {
        let known = Interner::default();
        let weigh = || {
            let principal = Remembered::shared(program(1, EXPIRY), &known);
            (Judged(Verdict::Valid(principal.clone())).heap_bytes(), principal)
        };
        let bare = Judged(Verdict::Valid(named("ci"))).heap_bytes();
        let held: Vec<_> = (0..100).map(|_| weigh()).collect();
        assert!(held[0].0 > bare);
        // What most hold costs nothing more.
        assert_eq!(held[99].0, bare);
        assert!(Arc::ptr_eq(&held[0].1.grants, &held[99].1.grants));
    }

    fn user(username: &str, email: &str, is_original: bool) -> Remembered {
        let Detail::User(user) = person(is_original).detail else { panic!("a person is a user") };
        let user = UserDetail { username: username.into(), email: email.into(), ..*user };
        Remembered::new(Principal { detail: Detail::User(user.into()), ..person(is_original) })
    }

    fn named(name: &str) -> Remembered {
        let Detail::Key(key) = program(1, EXPIRY).detail else { panic!("a program is a key") };
        let key = KeyDetail { name: name.into(), ..key };
        Remembered::new(Principal { detail: Detail::Key(key), ..program(1, EXPIRY) })
    }

    fn stored() -> Stored {
        Stored { owner: OWNER, expires_at: EXPIRY }
    }

    #[test]
    fn what_is_on_the_heap_is_weighed() {
        const WORD: usize = size_of::<usize>();
        let weigh = |verdict| Judged(verdict).heap_bytes();
        let (short, long) = ("n".repeat(23), "n".repeat(24));
        let shared = 2 * WORD + size_of::<Shared>();
        assert_eq!(weigh(Verdict::Valid(named(&short))), shared);
        // Two counters, as of every value that is shared, and the text.
        assert_eq!(weigh(Verdict::Valid(named(&long))), shared + 2 * WORD + 24);
        let person = shared + size_of::<UserDetail>();
        assert_eq!(weigh(Verdict::Valid(user("ada", "a@b.c", true))), person);
        let email = "a".repeat(100);
        let texts = 4 * WORD + 24 + 100;
        assert_eq!(weigh(Verdict::Valid(user(&long, &email, true))), person + texts);
        for verdict in
            [Verdict::Expired(Some(stored().into())), Verdict::Inactive(Some(stored().into()))]
        {
            assert_eq!(weigh(verdict), size_of::<Stored>());
        }
        for verdict in [Verdict::Unknown, Verdict::Revoked, Verdict::Expired(None)] {
            assert_eq!(weigh(verdict), 0);
        }
    }

    #[test]
    fn what_no_change_would_name_is_not_kept_and_only_revoked_is_a_fact() {
        for (verdict, kept) in [
            (Verdict::Valid(named("ci")), Kept::AsGood),
            (Verdict::Valid(user("ada", "a@b.c", true)), Kept::AsGood),
            (Verdict::Valid(user("ada", "a@b.c", false)), Kept::Not),
            (Verdict::Unknown, Kept::AsRefusal),
            (Verdict::Expired(Some(stored().into())), Kept::AsRefusal),
            (Verdict::Inactive(Some(stored().into())), Kept::AsRefusal),
            (Verdict::Disabled(Some(stored().into())), Kept::AsRefusal),
            (Verdict::Disabled(None), Kept::Not),
            (Verdict::Expired(None), Kept::Not),
            (Verdict::Inactive(None), Kept::Not),
            (Verdict::Malformed, Kept::Not),
            (Verdict::Revoked, Kept::AsFact),
        ] {
            assert_eq!(Judged(verdict.clone()).kept(), kept, "{verdict:?}");
        }
    }

    #[test]
    fn what_is_good_ends_at_its_expiry_and_what_has_expired_begins_there() {
        let (before, then) = (EXPIRY.plus(-1), EXPIRY);
        for (verdict, holds) in [
            (Verdict::Valid(named("ci")), [true, false]),
            (Verdict::Inactive(Some(stored().into())), [true, false]),
            (Verdict::Disabled(Some(stored().into())), [true, false]),
            (Verdict::Disabled(None), [false, false]),
            (Verdict::Expired(Some(stored().into())), [false, true]),
            (Verdict::Expired(None), [false, false]),
            (Verdict::Inactive(None), [false, false]),
            (Verdict::Unknown, [true, true]),
            (Verdict::Revoked, [true, true]),
        ] {
            let judged = Judged(verdict);
            let later = EXPIRY.plus(1);
            assert_eq!([before, then].map(|wall| judged.holds_at(wall)), holds, "{judged:?}");
            assert_eq!(judged.holds_at(later), holds[1], "{judged:?}");
        }
    }

    #[test]
    fn a_token_goes_with_its_session_too() {
        let token = person(true);
        let session = token.user().unwrap().session;
        let tags: Vec<_> = Judged(Verdict::Valid(Remembered::new(token))).tags().collect();
        assert_eq!(tags, [SharedTag::Owner(Owner::User(UserId(7))), SharedTag::Session(session)]);
    }

    #[test]
    fn what_is_stored_goes_with_its_owner() {
        let tags = |verdict| Judged(verdict).tags().collect::<Vec<_>>();
        let of = |id| vec![SharedTag::Owner(Owner::User(UserId(id)))];
        assert_eq!(tags(Verdict::Valid(named("ci"))), of(2));
        assert_eq!(tags(Verdict::Expired(Some(stored().into()))), of(2));
        assert_eq!(tags(Verdict::Inactive(Some(stored().into()))), of(2));
        assert_eq!(tags(Verdict::Disabled(Some(stored().into()))), of(2));
        for verdict in [Verdict::Expired(None), Verdict::Unknown, Verdict::Revoked] {
            assert_eq!(tags(verdict), []);
        }
    }

    #[test]
    fn a_principal_is_the_first_of_each_report_once() {
        let used = named("ci");
        for report in [1, 2] {
            let copy = used.clone();
            assert!(copy.is_first_in(report));
            assert!(!used.is_first_in(report));
        }
        let borrowed: &Principal = used.borrow();
        assert_eq!(borrowed.key().unwrap().name, "ci");
    }
}
