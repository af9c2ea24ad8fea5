//! The end-to-end tests: one binary, a module per area, all over HTTP against the real `latchkey`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, with the reason in the message"
)]

mod postgres;
