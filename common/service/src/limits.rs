//! What several services are told about limits, declared once.

use latchkey_runtime::config::{Preset, Switch};
use latchkey_runtime::{Table, Variable};

/// Lifts the limits.
pub const RATE_LIMIT: Variable<Switch> = Variable {
    name: "RATE_LIMIT",
    kind: Switch,
    default: Preset::Value("on"),
    help: "limits on logins, signups, new keys and changes of keys; `off` is for tests and benchmarks",
};

/// The variables about limits.
#[must_use]
pub fn table() -> Table {
    Table::new("Limits", &[&RATE_LIMIT])
}
