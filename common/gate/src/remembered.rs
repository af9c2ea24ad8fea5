//! Principals in memory.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use latchkey_contract::{KeyPrincipal, Timestamp, UserId, UserPrincipal};
use latchkey_revocation::Weigh;
use smol_str::SmolStr;

use crate::desk::Principal;

/// A principal as it is remembered: handed out without being copied.
#[derive(Debug)]
pub struct Remembered<P>(Arc<Shared<P>>);

#[derive(Debug)]
struct Shared<P> {
    principal: P,
    /// The last report of uses that this one is in.
    report: AtomicU32,
}

impl<P> Remembered<P> {
    /// Takes a principal.
    pub(crate) fn new(principal: P) -> Self {
        Self(Arc::new(Shared { principal, report: AtomicU32::new(0) }))
    }

    /// Whether this is asked for the first time for this report.
    pub(crate) fn is_first_in(&self, report: u32) -> bool {
        self.0.report.load(Ordering::Relaxed) != report
            && self.0.report.swap(report, Ordering::Relaxed) != report
    }
}

impl<P> Clone for Remembered<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<P> Deref for Remembered<P> {
    type Target = P;

    fn deref(&self) -> &P {
        &self.0.principal
    }
}

/// Bytes of the two counters that stand before a shared value, and of what stands behind it.
const COUNTERS: usize = 2 * size_of::<usize>() + size_of::<AtomicU32>().next_multiple_of(8);

/// What a text takes that is too long to stand where its owner stands.
fn heap_of(text: &SmolStr) -> usize {
    if text.is_heap_allocated() { 2 * size_of::<usize>() + text.len() } else { 0 }
}

impl Weigh for Remembered<KeyPrincipal> {
    fn heap_bytes(&self) -> usize {
        COUNTERS + size_of::<KeyPrincipal>() + heap_of(&self.name)
    }
}

impl Weigh for Remembered<UserPrincipal> {
    fn heap_bytes(&self) -> usize {
        COUNTERS + size_of::<UserPrincipal>() + heap_of(&self.username) + heap_of(&self.email)
    }
}

impl Principal for Remembered<KeyPrincipal> {
    fn may_be_remembered(&self) -> bool {
        true
    }

    fn owner(&self) -> UserId {
        self.owner
    }

    fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}

impl Principal for Remembered<UserPrincipal> {
    fn may_be_remembered(&self) -> bool {
        self.is_original
    }

    fn owner(&self) -> UserId {
        self.user
    }

    fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}
