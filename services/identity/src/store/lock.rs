//! What is taken before rows that verdicts depend on are changed.

/// Whoever changes signers or settings takes the revision's row first: of two at the same time one decides after the
/// other.
pub(super) const REVISION: &str = "UPDATE identity_position SET position = position WHERE id = 1";
