//! What the service is called.

/// The service's name: on the bus, in answers and in logs.
pub const NAME: &str = "edge";
