//! The members that a revoke waits for: in which contract number they are told, and whose word counts for each.

use std::collections::HashMap;
use std::sync::Arc;

use latchkey_contract::lease::MemberId;
use latchkey_contract::wire::Contracts;

use crate::store::Member;

/// What is known of them.
pub(crate) struct Awaited {
    users: HashMap<MemberId, Arc<str>>,
    contract: u16,
}

impl Awaited {
    /// Nobody is known yet: what is said is said in the lowest number.
    pub(crate) fn unknown(own: Contracts) -> Self {
        Self { users: HashMap::new(), contract: own.oldest() }
    }

    /// These, by somebody who reads and writes `own`.
    pub(crate) fn of(own: Contracts, members: &[Member]) -> Self {
        let lowest = members.iter().map(|member| member.contract).min();
        let contract = lowest.map_or(own.oldest(), |it| it.clamp(own.oldest(), own.newest()));
        let users = members.iter().map(|member| (member.key.id, Arc::clone(&member.key.user)));
        Self { users: users.collect(), contract }
    }

    /// The number that all of them read: the lowest among theirs, as far as it is written here.
    pub(crate) fn contract(&self) -> u16 {
        self.contract
    }

    /// The user of the bus that acknowledges for a member; `None` where it is not waited for.
    pub(crate) fn user(&self, member: MemberId) -> Option<&str> {
        self.users.get(&member).map(|user| &**user)
    }
}

#[cfg(test)]
mod tests {
    use latchkey_contract::wire::{CONTRACT, PREVIOUS};

    use super::*;
    use crate::store::MemberKey;

    fn contract(own: Contracts, joined: &[u16]) -> u16 {
        let member = |contract: &u16| Member {
            key: MemberKey { id: MemberId([7; 16]), user: Arc::from("edge") },
            contract: *contract,
        };
        Awaited::of(own, &joined.iter().map(member).collect::<Vec<_>>()).contract()
    }

    #[test]
    fn a_publication_is_in_the_lowest_number_among_the_members_and_in_none_that_is_not_written_here()
     {
        let own = Contracts::OWN;
        assert_eq!(contract(own, &[CONTRACT, CONTRACT]), CONTRACT);
        assert_eq!(contract(own, &[CONTRACT, PREVIOUS, CONTRACT]), PREVIOUS);
        assert_eq!(contract(own, &[CONTRACT + 1]), CONTRACT);
        assert_eq!(contract(own, &[CONTRACT, 0]), PREVIOUS);
        assert_eq!(contract(Contracts::of(PREVIOUS), &[CONTRACT]), PREVIOUS);
        assert_eq!(contract(own, &[]), PREVIOUS);
        assert_eq!(Awaited::unknown(own).contract(), PREVIOUS);
    }
}
