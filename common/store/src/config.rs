//! Where a service that is a process of its own has its data.

use latchkey_runtime::config::{Confidential, Fault, Number, Parsed, Preset};
use latchkey_runtime::{ConfigError, Environment, StartError, Table, Variable};

use crate::{Db, address};

/// The kind of `DATABASE_URL`. An address is never shown: it may hold a password.
pub type Address = Confidential<Parsed<String>>;

/// The Postgres server.
pub const DATABASE_URL: Variable<Address> = database_url(
    Confidential(Parsed {
        read: postgres_url,
        accepted: "postgres://USER:PASSWORD@HOST/NAME, with ?sslmode=verify-full&sslrootcert=FILE for TLS",
        placeholder: "URL",
    }),
    Preset::Described("required"),
);
/// Connections to Postgres.
pub const DATABASE_POOL: Variable<Number<u32>> = Variable {
    name: "DATABASE_POOL",
    kind: Number { min: 1, max: 100, note: "" },
    default: Preset::Value("8"),
    help: "connections to Postgres at most",
};

/// The tests' own: how many of the newest steps a process plays not to know, as a release before does.
#[cfg(debug_assertions)]
const TEST_UNKNOWN_STEPS: Variable<Number<usize>> = Variable {
    name: "LATCHKEY_TEST_UNKNOWN_STEPS",
    kind: Number { min: 0, max: 9, note: "" },
    default: Preset::Value("0"),
    help: "steps of the tables that are left out, as in a release before; not in release builds",
};

/// The variable `DATABASE_URL` of a service that takes addresses of this kind.
#[must_use]
pub const fn database_url(kind: Address, default: Preset) -> Variable<Address> {
    Variable { name: "DATABASE_URL", kind, default, help: "where the data is" }
}

/// What says where the data is, `url` among it.
#[must_use]
pub fn table(url: &'static Variable<Address>) -> Table {
    Table::new("Data", &[url, &DATABASE_POOL])
}

/// Which database a service uses, and how.
#[derive(Clone)]
pub struct Config {
    url: String,
    connections: u32,
    unknown_steps: usize,
}

impl Config {
    /// Reads the variables of a service that is a process of its own.
    ///
    /// # Errors
    /// [`ConfigError`] names the first variable that cannot be used.
    pub fn read(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            url: environment.read(&DATABASE_URL)?,
            connections: environment.read(&DATABASE_POOL)?,
            #[cfg(debug_assertions)]
            unknown_steps: environment.read(&TEST_UNKNOWN_STEPS)?,
            #[cfg(not(debug_assertions))]
            unknown_steps: 0,
        })
    }

    /// Opens the database; the server sees `name`.
    ///
    /// # Errors
    /// [`StartError`] where the address cannot be used.
    pub async fn open(&self, name: &str) -> Result<Db, StartError> {
        let mut db = Db::open(&self.url, name, self.connections).await?;
        if let Db::Postgres(postgres) = &mut db {
            postgres.unknown_steps = self.unknown_steps;
        }
        Ok(db)
    }
}

fn postgres_url(url: &str) -> Result<String, Fault> {
    if !address::is_postgres(url) {
        return Err(Fault::Because("not the address of a Postgres server".to_owned()));
    }
    match address::postgres(url) {
        Ok(_read) => Ok(url.to_owned()),
        Err(error) => Err(Fault::Because(error.to_string())),
    }
}
