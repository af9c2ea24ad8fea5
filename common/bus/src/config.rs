//! The bus's own variables.

use std::path::{Path, PathBuf};
use std::pin::Pin;

use async_nats::ServerAddr;
use async_nats::rustls::pki_types::CertificateDer;
use async_nats::rustls::pki_types::pem::PemObject;
#[cfg(debug_assertions)]
use latchkey_contract::wire;
use latchkey_contract::wire::Contracts;
use latchkey_contract::{Secret, Sender};
use latchkey_runtime::{ConfigError, Entropy, Environment, Exit, StartError, Variable};

use crate::nats::{User, is_user_name};
use crate::{Bus, BusError, Nats, NatsOptions};

/// Where the bus is.
pub const NATS_URL: Variable = Variable {
    name: "NATS_URL",
    default: "nats://127.0.0.1:4222",
    help: "where the bus is, for services that are processes of their own",
    accepted: "nats://HOST:PORT, or tls://HOST:PORT for a bus behind TLS; several separated by commas",
};

/// Who this process is on the bus.
pub const NATS_USER: Variable = Variable {
    name: "NATS_USER",
    default: "none",
    help: "who this process is on the bus; deploy/nats says what each user may do",
    accepted: "letters, digits, - and _, together with NATS_PASSWORD",
};

/// What proves it.
pub const NATS_PASSWORD: Variable = Variable {
    name: "NATS_PASSWORD",
    default: "none",
    help: "the password of NATS_USER; NATS_PASSWORD_FILE names a file that holds it instead",
    accepted: "any text, together with NATS_USER",
};

/// Who may vouch for the server.
pub const NATS_CA_FILE: Variable = Variable {
    name: "NATS_CA_FILE",
    default: "the system's",
    help: "certificate authorities that may vouch for a bus behind TLS",
    accepted: "the path of a readable PEM file with certificates",
};

/// The tests' own: with it a process speaks and reads as one of the release before does.
#[cfg(debug_assertions)]
const TEST_PREVIOUS_CONTRACT: Variable = Variable {
    name: "LATCHKEY_TEST_PREVIOUS_CONTRACT",
    default: "off",
    help: "speaks the contract before this one, as the release before; not in release builds",
    accepted: "on, off",
};

/// All of them, for help texts.
pub const VARIABLES: [&Variable; 4] = [&NATS_URL, &NATS_USER, &NATS_PASSWORD, &NATS_CA_FILE];

impl NatsOptions {
    /// What the environment says, for `service`.
    ///
    /// # Errors
    /// [`ConfigError`] where it cannot be used.
    pub fn read(
        environment: &Environment,
        service: &str,
        entropy: &Entropy,
    ) -> Result<Self, ConfigError> {
        let url = environment.text(&NATS_URL).unwrap_or(NATS_URL.default);
        check_url(url)?;
        Ok(Self {
            url: url.to_owned(),
            name: service.to_owned(),
            unique: format!("{:016x}", u64::from_be_bytes(entropy.bytes())),
            user: read_user(environment)?,
            ca_file: environment.text(&NATS_CA_FILE).map(check_certificates).transpose()?,
            #[cfg(debug_assertions)]
            contracts: read_contracts(environment)?,
            #[cfg(not(debug_assertions))]
            contracts: Contracts::OWN,
        })
    }

    /// These, for a process that gives the commands of `sender`: services take them by the name of the bus' user.
    ///
    /// # Errors
    /// [`ConfigError`] where nobody would take them.
    pub fn giving_commands_of(self, sender: Sender) -> Result<Self, ConfigError> {
        let (user, name) = (self.user(), sender.name());
        if sender.is(user) {
            return Ok(self);
        }
        Err(NATS_USER.wrong(format!(
            "{user:?} is neither {name} nor {name}- and something: nobody would take its commands"
        )))
    }
}

/// Connects a bus, and fails where waiting cannot help: the server was there and refused.
pub type Connecting = Pin<Box<dyn Future<Output = Result<(), StartError>> + Send>>;

impl Bus {
    /// Connects to the NATS server of `options`, and waits for it where it is away.
    ///
    /// # Errors
    /// [`StartError`] where waiting cannot help: the server was there and refused.
    pub async fn connect(options: NatsOptions) -> Result<Self, StartError> {
        let (bus, connecting) = Self::begin(options);
        connecting.await?;
        Ok(bus)
    }

    /// The bus at once, and what connects it to the NATS server of `options`: until that is done it is away, and
    /// whoever serves or subscribes on it waits.
    #[must_use]
    pub fn begin(options: NatsOptions) -> (Self, Connecting) {
        let anonymous = options.user.is_none();
        let (nats, connecting) = Nats::begin(options);
        let refused = move |error| match error {
            BusError::Refused if anonymous => {
                NATS_USER.wrong("not set, and the server at NATS_URL asks for a user").into()
            }
            BusError::Refused => {
                NATS_USER.wrong("the server at NATS_URL refuses this user and password").into()
            }
            BusError::Untrusted(cause) => {
                let fault = format!("does not vouch for the server at NATS_URL: {cause}");
                NATS_CA_FILE.wrong(fault).into()
            }
            other => StartError::new(Exit::Unavailable, format!("{other} at NATS_URL")),
        };
        (Self::Nats(nats), Box::pin(async move { connecting.await.map_err(refused) }))
    }
}

#[cfg(debug_assertions)]
fn read_contracts(environment: &Environment) -> Result<Contracts, ConfigError> {
    let previous = environment.switch(&TEST_PREVIOUS_CONTRACT, false)?;
    Ok(if previous { Contracts::of(wire::PREVIOUS) } else { Contracts::OWN })
}

/// Logs show addresses, so a password in one is refused, also one that ends the address' first part too early.
fn check_url(url: &str) -> Result<(), ConfigError> {
    if url.contains('@') {
        return Err(NATS_URL.wrong("a user or password belongs in NATS_USER, NATS_PASSWORD"));
    }
    for part in url.split(',') {
        let place = part.strip_prefix("nats://").or_else(|| part.strip_prefix("tls://"));
        let bare = place.is_some_and(|place| !place.contains(['/', '?', '#', '%']));
        if !bare || part.parse::<ServerAddr>().is_err() {
            return Err(NATS_URL.wrong("not the address of a NATS server"));
        }
    }
    Ok(())
}

fn read_user(environment: &Environment) -> Result<Option<User>, ConfigError> {
    match (environment.text(&NATS_USER), environment.secret(&NATS_PASSWORD)?) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(NATS_USER.wrong("not set, while NATS_PASSWORD is")),
        (Some(_), None) => Err(NATS_PASSWORD.wrong("not set, while NATS_USER is")),
        // The name is part of the subjects on which replies arrive.
        (Some(name), Some(_)) if !is_user_name(name) => {
            Err(NATS_USER.wrong(format!("{name:?} cannot be used")))
        }
        (Some(name), Some(password)) => {
            Ok(Some(User { name: name.to_owned(), password: Secret::new(password) }))
        }
    }
}

fn check_certificates(path: &str) -> Result<PathBuf, ConfigError> {
    let wrong = |fault: String| NATS_CA_FILE.wrong(format!("{path:?} {fault}"));
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(format!("cannot be read: {error}")))?;
    if certificates.is_empty() {
        return Err(wrong("holds no certificate".to_owned()));
    }
    Ok(Path::new(path).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<NatsOptions, String> {
        let owned = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        NatsOptions::read(&Environment::of(owned), "edge", &Entropy::System)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_faulty_variable_is_named_with_its_fault_and_no_password_is_shown() {
        let faulty: [(&[(&str, &str)], &str); 12] = [
            (&[("NATS_URL", "127.0.0.1:4222")], "NATS_URL: not the address"),
            (&[("NATS_URL", "http://127.0.0.1")], "NATS_URL: not the address"),
            (&[("NATS_URL", "nats://a:1,")], "NATS_URL: not the address"),
            (&[("NATS_URL", "nats://me:hunter2@a:1")], "NATS_URL: a user or password belongs"),
            (&[("NATS_URL", "nats://me:12?hunter2@a:1")], "NATS_URL: a user or password belongs"),
            (&[("NATS_URL", "nats://me:12#hunter2@a:1")], "NATS_URL: a user or password belongs"),
            (&[("NATS_URL", "nats://me:12/hunter2")], "NATS_URL: not the address"),
            (
                &[("NATS_PASSWORD_FILE", "/hunter2"), ("NATS_USER", "a")],
                "NATS_PASSWORD_FILE: the file",
            ),
            (&[("NATS_USER", "edge")], "NATS_PASSWORD: not set"),
            (&[("NATS_PASSWORD", "hunter2")], "NATS_USER: not set"),
            (&[("NATS_USER", "e.*"), ("NATS_PASSWORD", "hunter2")], "NATS_USER: \"e.*\""),
            (&[("NATS_CA_FILE", "/nonexistent/ca.pem")], "NATS_CA_FILE: \"/nonexistent/ca.pem\""),
        ];
        for (variables, expected) in faulty {
            let error = read(variables).err().unwrap_or_default();
            assert!(error.starts_with(expected), "{variables:?}: {error}");
            assert!(!error.contains("hunter2") && error.lines().count() == 1, "{error}");
        }
    }

    #[test]
    fn replies_arrive_below_the_users_name_and_without_one_below_the_services() {
        let inbox = |options: NatsOptions| options.inbox();
        assert!(inbox(read(&[]).unwrap()).starts_with("_INBOX_edge."));
        let with = read(&[("NATS_USER", "verifier"), ("NATS_PASSWORD", "x")]).unwrap();
        assert!(inbox(with).starts_with("_INBOX_verifier."));
    }
}
