//! The bus's own variable.

use latchkey_runtime::{Entropy, Environment, Exit, StartError, Variable};

use crate::{Bus, Nats, NatsOptions};

/// Where the bus is.
pub const NATS_URL: Variable = Variable {
    name: "NATS_URL",
    default: "nats://127.0.0.1:4222",
    help: "where the bus is, for services that are processes of their own",
    accepted: "nats://HOST:PORT or tls://HOST:PORT, several separated by commas",
};

impl Bus {
    /// Connects `service` to the NATS server that the environment names.
    ///
    /// # Errors
    /// [`StartError`] where the address is none, or nobody answers there.
    pub async fn connect(
        environment: &Environment,
        service: &str,
        entropy: &Entropy,
    ) -> Result<Self, StartError> {
        let url = environment.text(&NATS_URL).unwrap_or(NATS_URL.default);
        let known = |part: &str| part.starts_with("nats://") || part.starts_with("tls://");
        if !url.split(',').all(known) {
            return Err(NATS_URL.wrong("not the address of a NATS server").into());
        }
        let options = NatsOptions {
            url: url.to_owned(),
            name: service.to_owned(),
            unique: format!("{:016x}", u64::from_be_bytes(entropy.bytes())),
        };
        Nats::connect(options).await.map(Self::Nats).map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let message = format!("{error} at NATS_URL: {}", cause.unwrap_or_default());
            StartError::new(Exit::Unavailable, message)
        })
    }
}
