//! What keys take in a message, so that pages and answers fit in one, and are made short before they are written.

use super::commands::{IssueKeys, KeyFilter, KeyPage};
use super::object::{KeyObject, Revocation};

/// Bytes of the keys of one message at most, as [`KeyObject::weight`] counts: they fit in it with what else it holds.
pub const MAX_PAGE_WEIGHT: usize = 60 * 1_024;
/// What one key weighs at most.
const MAX_WEIGHT: usize = 16 * 1_024;
/// Bytes that the text of a key takes in a message at most.
const KEY_TEXT_WEIGHT: usize = 96;
/// Bytes that a key takes beside its texts, at most.
const BARE_WEIGHT: usize = 192;
/// Bytes that each text takes beside itself, at most.
const TEXT_WEIGHT: usize = 3;
/// Bytes of an address range at most.
const RANGE_WEIGHT: usize = 24;

impl KeyObject {
    /// Bytes that it takes in a message, or a little more.
    #[must_use]
    pub fn weight(&self) -> usize {
        let texts = [
            self.name.len(),
            self.hint.len(),
            self.description.len(),
            self.metadata.as_text().len(),
            self.external_id.as_ref().map_or(0, String::len),
            self.environment.len(),
            self.scopes.as_text().len(),
        ];
        let tags: usize = self.tags.iter().map(|tag| tag.len() + TEXT_WEIGHT).sum();
        let ended = self.revocation.as_ref().map_or(0, Revocation::weight);
        let ranges = self.allowed_ips.len() * RANGE_WEIGHT;
        BARE_WEIGHT + texts.iter().sum::<usize>() + tags + ended + ranges
    }
}

impl Revocation {
    fn weight(&self) -> usize {
        let by = self.by.as_ref().map_or(0, |by| by.kind.len() + by.id.len());
        self.note.as_ref().map_or(0, String::len) + by
    }
}

impl KeyPage {
    /// Whether it may be short because a message holds no more.
    #[must_use]
    pub fn is_heavy(&self) -> bool {
        let weight: usize = self.keys.iter().map(KeyObject::weight).sum();
        weight + MAX_WEIGHT > MAX_PAGE_WEIGHT
    }
}

impl KeyFilter {
    /// Whether it lets every key through.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl IssueKeys {
    /// Whether the reply that shows these keys fits in a message.
    #[must_use]
    pub fn fits(keys: &[KeyObject]) -> bool {
        let weight: usize = keys.iter().map(|key| key.weight() + KEY_TEXT_WEIGHT).sum();
        weight <= MAX_PAGE_WEIGHT
    }
}
