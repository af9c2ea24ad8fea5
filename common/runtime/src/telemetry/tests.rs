//! What is asked of the log.

use super::*;

#[test]
fn whoever_asks_for_more_than_info_sees_every_line() {
    for asked in ["info", "off", "warn,latchkey_edge=info", "info,audit=debug", "audit[x]=trace"] {
        assert!(is_limited(asked), "{asked}");
    }
    for asked in ["trace", "debug", "info,latchkey_edge=debug", "info,[x]=debug", "auditor=debug"] {
        assert!(!is_limited(asked), "{asked}");
    }
}
