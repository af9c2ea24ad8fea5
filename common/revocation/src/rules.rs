//! The switch that the tests break the protocol with: every mutant must be caught by the model.
//! Outside tests there is nothing to switch, and each question below is the constant `false`.

/// One way to get the protocol wrong. The first nineteen are those of the protocol's description, those from
/// `FirstTagOnly` on of its description of tags. What
/// stands under `cfg(test)` breaks what the cores are driven by, and the model acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A revoker waits for less than a lease.
    ShortWait,
    /// Answers count from their receipt.
    StampAtReceipt,
    /// A reply is taken although its credential was invalidated since.
    IgnoreTombstone,
    /// The members are read before the commit.
    MembersBeforeCommit,
    /// Revoking what is revoked returns at once.
    RetryReturnsAtOnce,
    /// A silent member's row is deleted at once.
    DeleteSilentAtOnce,
    /// Numbers are taken before the commit's order is known.
    #[cfg(test)]
    PositionsFromSequence,
    /// An invalidation moves the edge's revision.
    InvalidateMovesPosition,
    /// An invalidation is acknowledged without a tombstone.
    AcknowledgeWithoutTombstone,
    /// A tombstone is evicted, and the floor stays.
    EvictionKeepsFloor,
    /// A reply is taken however old its question is.
    NoBoundOnAge,
    /// Renewals are answered by a standby that lags.
    #[cfg(test)]
    RenewFromStandby,
    /// Who is no member is granted answers.
    GrantToStranger,
    /// Who is retired is granted answers.
    GrantToRetired,
    /// An invalidation is acknowledged, then applied.
    AcknowledgeBeforeApplying,
    /// A renewal reads the list, then the revision.
    #[cfg(test)]
    RenewInTwoStatements,
    /// A restarted edge comes back under its old id.
    #[cfg(test)]
    IdReused,
    /// A waiter takes what another's question was answered, without looking itself.
    #[cfg(test)]
    WaiterWithoutChecks,
    /// A janitor deletes a retired row without waiting.
    JanitorDeletesAtOnce,
    /// (Our own.) A reader looks at the entry first and at the lease afterwards.
    #[cfg(test)]
    EntryBeforeLease,
    /// (Our own.) A revoke returns early although the epoch is new.
    EarlyInNewEpoch,
    /// A reply is judged by its credential's tag alone.
    ReplyByCredentialAlone,
    /// (Our own.) Everything is dropped, and the floor stays.
    DropKeepsFloor,
    /// (Our own.) Entries are used whether or not there is a lease.
    LeaseOff,
    /// Of an entry's tags only the first is looked up.
    FirstTagOnly,
    /// A change is acknowledged, then counted.
    CountAfterAcknowledgement,
    /// A change is counted, then its tombstone is set.
    CountBeforeTombstone,
    /// A shared tag's tombstone is evicted, and the floor stays.
    TagEvictionKeepsFloor,
    /// A shared tag's tombstone is evicted, then the floor rises.
    TagEvictionBeforeFloor,
    /// The floor is compared, then the tags are looked up.
    FloorBeforeTags,
    /// How many changes an entry has seen is read after its tags were looked up.
    SeenReadAfterLookUp,
    /// What an entry has seen is a revision, not a count.
    SeenIsRevision,
    /// A change of everything raises no floor.
    AllKeepsEntries,
    /// A change of everything is not counted.
    AllDoesNotCount,
    /// A change of a kind that is not known is passed over.
    UnknownKindIgnored,
}

/// Which mutant runs, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    #[cfg(test)]
    mutant: Option<Mutant>,
    #[cfg(all(debug_assertions, not(test)))]
    lease_off: bool,
}

impl Rules {
    /// The protocol, broken.
    #[cfg(test)]
    pub(crate) fn broken(mutant: Mutant) -> Self {
        Self { mutant: Some(mutant) }
    }

    /// The protocol without leases: for the fault tests, which must notice. Not in release builds.
    #[cfg(all(debug_assertions, not(test)))]
    pub(crate) fn without_lease() -> Self {
        Self { lease_off: true }
    }

    /// Whether this mutant runs.
    #[cfg(test)]
    #[inline]
    pub(crate) fn breaks(self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Whether this mutant runs: never, but for the lease in a debug build.
    #[cfg(all(debug_assertions, not(test)))]
    #[inline]
    pub(crate) fn breaks(self, mutant: Mutant) -> bool {
        self.lease_off && mutant == Mutant::LeaseOff
    }

    /// Whether this mutant runs: never.
    #[cfg(not(any(test, debug_assertions)))]
    #[inline]
    #[expect(clippy::unused_self, reason = "the same call in each build")]
    pub(crate) fn breaks(self, _: Mutant) -> bool {
        false
    }
}
