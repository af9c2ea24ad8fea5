//! The bus's own variables.

use std::path::PathBuf;
use std::pin::Pin;

use async_nats::ServerAddr;
use async_nats::rustls::RootCertStore;
use async_nats::rustls::pki_types::CertificateDer;
use async_nats::rustls::pki_types::pem::PemObject;
#[cfg(debug_assertions)]
use latchkey_contract::wire;
use latchkey_contract::wire::Contracts;
use latchkey_contract::{Secret, Sender};
#[cfg(debug_assertions)]
use latchkey_runtime::config::Switch;
use latchkey_runtime::config::{Confidential, Fault, Parsed, Preset, Text};
use latchkey_runtime::{ConfigError, Entropy, Environment, Exit, StartError, Table, Variable};

use crate::nats::{User, is_user_name};
use crate::{Bus, BusError, Nats, NatsOptions};

/// Where the bus is.
pub const NATS_URL: Variable<Parsed<String>> = Variable {
    name: "NATS_URL",
    kind: Parsed {
        read: url,
        accepted: "nats://HOST:PORT, or tls://HOST:PORT for a bus behind TLS; several separated by commas",
        placeholder: "URL",
    },
    default: Preset::Value("nats://127.0.0.1:4222"),
    help: "where the bus is, for services that are processes of their own",
};

/// Who this process is on the bus.
pub const NATS_USER: Variable<Parsed<String>> = Variable {
    name: "NATS_USER",
    kind: Parsed {
        read: user_name,
        accepted: "letters, digits, - and _, together with NATS_PASSWORD",
        placeholder: "NAME",
    },
    default: Preset::Described("none"),
    help: "who this process is on the bus; deploy/nats says what each user may do",
};

/// What proves it.
pub const NATS_PASSWORD: Variable<Confidential<Text>> = Variable {
    name: "NATS_PASSWORD",
    kind: Confidential(Text { accepted: "any text, together with NATS_USER" }),
    default: Preset::Described("none"),
    help: "the password of NATS_USER",
};

/// Who may vouch for the server.
pub const NATS_CA_FILE: Variable<Parsed<PathBuf>> = Variable {
    name: "NATS_CA_FILE",
    kind: Parsed {
        read: certificates,
        accepted: "the path of a readable PEM file with certificates",
        placeholder: "FILE",
    },
    default: Preset::Described("the system's"),
    help: "certificate authorities that may vouch for a bus behind TLS",
};

/// The tests' own: with it a process speaks and reads as one of the release before does.
#[cfg(debug_assertions)]
const TEST_PREVIOUS_CONTRACT: Variable<Switch> = Variable {
    name: "LATCHKEY_TEST_PREVIOUS_CONTRACT",
    kind: Switch,
    default: Preset::Value("off"),
    help: "speaks the contract before this one, as the release before; not in release builds",
};

/// All of them.
#[must_use]
pub fn table() -> Table {
    Table::new("Bus", &[&NATS_URL, &NATS_USER, &NATS_PASSWORD, &NATS_CA_FILE])
}

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
        Ok(Self {
            url: environment.read(&NATS_URL)?,
            name: service.to_owned(),
            unique: format!("{:016x}", u64::from_be_bytes(entropy.bytes())),
            user: read_user(environment)?,
            ca_file: environment.find(&NATS_CA_FILE)?,
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
    let previous = environment.read(&TEST_PREVIOUS_CONTRACT)?;
    Ok(if previous { Contracts::of(wire::PREVIOUS) } else { Contracts::OWN })
}

/// Logs show addresses, so a password in one is refused, also one that ends the address' first part too early.
fn url(text: &str) -> Result<String, Fault> {
    let wrong = |fault: &str| Err(Fault::Because(fault.to_owned()));
    if text.contains('@') {
        return wrong("a user or password belongs in NATS_USER, NATS_PASSWORD");
    }
    for part in text.split(',') {
        let place = part.strip_prefix("nats://").or_else(|| part.strip_prefix("tls://"));
        let bare = place.is_some_and(|place| !place.contains(['/', '?', '#', '%']));
        if !bare || part.parse::<ServerAddr>().is_err() {
            return wrong("not the address of a NATS server");
        }
    }
    Ok(text.to_owned())
}

/// The name is part of the subjects on which replies arrive.
fn user_name(text: &str) -> Result<String, Fault> {
    is_user_name(text).then(|| text.to_owned()).ok_or(Fault::Unusable)
}

fn read_user(environment: &Environment) -> Result<Option<User>, ConfigError> {
    match (environment.find(&NATS_USER)?, environment.find(&NATS_PASSWORD)?) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(NATS_USER.wrong("not set, while NATS_PASSWORD is")),
        (Some(_), None) => Err(NATS_PASSWORD.wrong("not set, while NATS_USER is")),
        (Some(name), Some(password)) => Ok(Some(User { name, password: Secret::new(password) })),
    }
}

fn certificates(path: &str) -> Result<PathBuf, Fault> {
    let wrong = |fault: String| Fault::Because(format!("{path:?} {fault}"));
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(format!("cannot be read: {error}")))?;
    if certificates.is_empty() {
        return Err(wrong("holds no certificate".to_owned()));
    }
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let fault = |error| wrong(format!("holds a certificate that is none: {error}"));
        roots.add(certificate).map_err(fault)?;
    }
    Ok(PathBuf::from(path))
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
