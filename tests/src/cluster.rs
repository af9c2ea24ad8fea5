//! The services as processes of their own: any number of replicas of each, on a NATS server and
//! databases of the cluster's own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::process::{Finished, Process, free_port, mortal};
use crate::relay::Relay;
use crate::{Api, Folder, SECRET, binary, nats, poll, postgres, prometheus};

mod replica;

/// A lease that no busy machine loses, for tests that count confirmations or questions: [`Builder::unhurried`].
pub const UNHURRIED_LEASE: Duration = Duration::from_secs(6);
/// How long a revoke waits under that lease for a member that is silent, in milliseconds.
pub const UNHURRIED_WAIT_MS: u64 = 6_600;
/// Bound on the start of a service.
const START: Duration = Duration::from_mins(1);
/// The gauge that is 1 while an edge may answer from memory.
const LEASE_HELD: &str = "latchkey_lease_held";
/// Bound on members that join.
const JOIN: Duration = Duration::from_mins(1);

/// One of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// `latchkey-identity`
    Identity,
    /// `latchkey-keys`
    Keys,
    /// `latchkey-edge`
    Edge,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Identity, Self::Keys, Self::Edge];

    /// The binary's name.
    pub fn binary(self) -> &'static str {
        match self {
            Self::Identity => "latchkey-identity",
            Self::Keys => "latchkey-keys",
            Self::Edge => "latchkey-edge",
        }
    }
}

/// What a cluster is to be made of.
#[derive(Debug)]
pub struct Builder {
    replicas: BTreeMap<Service, usize>,
    environment: BTreeMap<(Service, String), String>,
    nats: nats::Setup,
    own_postgres: bool,
    relayed: bool,
    dotenv: Option<String>,
}

/// A running cluster. It ends with the value.
#[derive(Debug)]
pub struct Cluster {
    replicas: BTreeMap<Service, Vec<Replica>>,
    databases: BTreeMap<Service, String>,
    bus: nats::Server,
    relays: BTreeMap<Service, Vec<Relay>>,
    postgres: Option<postgres::Server>,
}

/// One process of a cluster.
#[derive(Debug)]
pub struct Replica {
    service: Service,
    folder: Folder,
    environment: BTreeMap<String, String>,
    url: String,
    monitor: u16,
    process: Option<Process>,
}

impl Builder {
    /// How many replicas of a service run; one if nothing is said.
    #[must_use]
    pub fn replicas(mut self, service: Service, count: usize) -> Self {
        self.replicas.insert(service, count);
        self
    }

    /// Sets an environment variable of every process.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        for service in Service::ALL {
            self = self.set_for(service, name, value);
        }
        self
    }

    /// Sets an environment variable of one service's processes.
    #[must_use]
    pub fn set_for(mut self, service: Service, name: &str, value: &str) -> Self {
        self.environment.insert((service, name.to_owned()), value.to_owned());
        self
    }

    /// Gives everybody the lease [`UNHURRIED_LEASE`].
    #[must_use]
    pub fn unhurried(self) -> Self {
        self.set("LEASE_MS", &UNHURRIED_LEASE.as_millis().to_string())
    }

    /// Makes hashing cheap, for tests that need many accounts and not the cost.
    #[must_use]
    pub fn cheap_passwords(self) -> Self {
        self.set_for(Service::Identity, "ARGON2_MEMORY_KIB", "8192")
            .set_for(Service::Identity, "ARGON2_ITERATIONS", "1")
            .set_for(Service::Identity, "ARGON2_PARALLELISM", "1")
    }

    /// How the NATS server is started.
    #[must_use]
    pub fn nats(mut self, setup: nats::Setup) -> Self {
        self.nats = setup;
        self
    }

    /// Gives the cluster a Postgres server that a test may kill, and that writes to the disk.
    #[must_use]
    pub fn own_postgres(mut self) -> Self {
        self.own_postgres = true;
        self
    }

    /// Puts a relay of its own between each process and the bus.
    #[must_use]
    pub fn relayed(mut self) -> Self {
        self.relayed = true;
        self
    }

    /// Writes a `.env` file into every process' working folder.
    #[must_use]
    pub fn dotenv(mut self, text: &str) -> Self {
        self.dotenv = Some(text.to_owned());
        self
    }

    /// Starts everything and waits until every process is ready.
    pub fn start(self) -> Cluster {
        let bus = nats::Server::with(self.nats.clone());
        let postgres = self.own_postgres.then(postgres::Server::start);
        let server = postgres.as_ref().unwrap_or_else(|| postgres::server());
        let databases: BTreeMap<Service, String> = [Service::Identity, Service::Keys]
            .into_iter()
            .map(|service| (service, server.fresh_database_now()))
            .collect();
        let mut replicas: BTreeMap<Service, Vec<Replica>> = BTreeMap::new();
        let mut relays: BTreeMap<Service, Vec<Relay>> = BTreeMap::new();
        for service in Service::ALL {
            let count = self.replicas.get(&service).copied().unwrap_or(1);
            for _ in 0..count {
                let mut replica = self.replica(service, &bus.url(), databases.get(&service));
                if self.relayed {
                    let relay = Relay::to(bus.port());
                    replica.set("NATS_URL", &format!("nats://127.0.0.1:{}", relay.port()));
                    relays.entry(service).or_default().push(relay);
                }
                replicas.entry(service).or_default().push(replica);
            }
        }
        let mut cluster = Cluster { replicas, databases, bus, relays, postgres };
        cluster.launch();
        cluster
    }

    /// Whether the `.env` file says which secret signs.
    fn has_own_secret(&self) -> bool {
        self.dotenv.as_ref().is_some_and(|text| text.contains("SECRET_KEY="))
    }

    fn replica(&self, service: Service, bus: &str, database: Option<&String>) -> Replica {
        let (port, monitor) = (free_port(), free_port());
        let mut environment = BTreeMap::new();
        let mut set =
            |name: &str, value: &str| environment.insert(name.to_owned(), value.to_owned());
        set("NATS_URL", bus);
        set("RATE_LIMIT", "off");
        set("MONITOR_ADDR", &format!("127.0.0.1:{monitor}"));
        if let Some(database) = database {
            set("DATABASE_URL", database);
        }
        match service {
            Service::Identity if !self.has_own_secret() => drop(set("SECRET_KEY", SECRET)),
            Service::Edge => drop(set("LISTEN_ADDR", &format!("127.0.0.1:{port}"))),
            Service::Identity | Service::Keys => {}
        }
        let own = self.environment.iter().filter(|((of, _), _)| *of == service);
        for ((_, name), value) in own {
            set(name, value);
        }
        let folder = Folder::new();
        if let Some(text) = &self.dotenv {
            std::fs::write(folder.join(".env"), text).expect("write .env");
        }
        let url = format!("http://127.0.0.1:{port}");
        Replica { service, folder, environment, url, monitor, process: None }
    }
}

impl Cluster {
    /// A cluster in the making: one replica of each service, limits off, everything else as shipped.
    pub fn builder() -> Builder {
        Builder {
            replicas: BTreeMap::new(),
            environment: BTreeMap::new(),
            nats: nats::Setup::default(),
            own_postgres: false,
            relayed: false,
            dotenv: None,
        }
    }

    /// Starts every process that does not run, and waits until all are ready.
    pub fn launch(&mut self) {
        for replica in self.all().filter(|replica| !replica.runs()) {
            replica.launch();
        }
        for replica in self.all() {
            replica.wait_ready();
        }
        // Some were ready before those that they ask.
        for edge in self.of(Service::Edge) {
            edge.until_it_asks();
        }
    }

    /// Whether every process of ours runs.
    pub fn runs(&self) -> bool {
        self.replicas.values().flatten().all(Replica::runs)
    }

    /// Every line logged since the last start, process after process.
    pub fn logs(&self) -> Vec<String> {
        self.replicas.values().flatten().flat_map(Replica::logs).collect()
    }

    /// The addresses of all edges. They stay the same over restarts.
    pub fn edges(&self) -> Vec<String> {
        self.replicas[&Service::Edge].iter().map(|edge| edge.url.clone()).collect()
    }

    /// A client for the edge with this number.
    pub fn api(&self, edge: usize) -> Api {
        Api::new(self.replica(Service::Edge, edge).url())
    }

    /// How many replicas a service has.
    pub fn count(&self, service: Service) -> usize {
        self.replicas[&service].len()
    }

    /// A process, to look at.
    pub fn replica(&self, service: Service, number: usize) -> &Replica {
        &self.replicas[&service][number]
    }

    /// A process, to do something to.
    pub fn replica_mut(&mut self, service: Service, number: usize) -> &mut Replica {
        &mut self.of(service)[number]
    }

    /// All processes of a service.
    pub fn of(&mut self, service: Service) -> &mut [Replica] {
        self.replicas.get_mut(&service).expect("every service has replicas")
    }

    /// All processes of all services.
    pub fn all(&mut self) -> impl Iterator<Item = &mut Replica> {
        self.replicas.values_mut().flatten()
    }

    /// Kills every process of ours at once, without a word.
    pub fn kill(&mut self) {
        // Those that answer clients first: none is left to tell that the others are gone.
        for service in [Service::Edge, Service::Keys, Service::Identity] {
            self.of(service).iter_mut().for_each(Replica::strike);
        }
        self.all().for_each(Replica::kill);
    }

    /// Waits until each authority has so many members.
    pub async fn joined(&self, members: i64) {
        for (service, table) in [(Service::Keys, "keys"), (Service::Identity, "identity")] {
            let count = format!("SELECT count(*) FROM {table}_members WHERE state = 'member'");
            let connected = PgConnection::connect(self.database(service)).await;
            let mut database = connected.expect("the database is there");
            let end = Instant::now() + JOIN;
            loop {
                let query = sqlx::query_scalar(AssertSqlSafe(count.clone()));
                let found: i64 = query.fetch_one(&mut database).await.expect("a count");
                if found == members {
                    break;
                }
                assert!(Instant::now() < end, "{found} members of {table}, not {members}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    /// Waits until an edge answers from memory: whoever has joined holds no lease before its first renewal.
    pub async fn remembers(&self, edge: usize) {
        let monitor = self.replica(Service::Edge, edge).monitor();
        poll::until_async("the edge holds a lease of both authorities", JOIN, async || {
            let text = prometheus::scrape(&monitor).await;
            let holds = |authority| {
                let held = prometheus::value(&text, LEASE_HELD, &[("authority", authority)]);
                held.is_some_and(|held| held > 0.5)
            };
            (holds("keys") && holds("identity")).then_some(())
        })
        .await;
    }

    /// The address of a service's database.
    pub fn database(&self, service: Service) -> &str {
        &self.databases[&service]
    }

    /// The address of the bus.
    pub fn bus_url(&self) -> String {
        self.bus.url()
    }

    /// Runs an operator's command, such as `user deactivate NAME`, to its end.
    pub fn operator(&self, arguments: &[&str]) -> Finished {
        self.operator_given(arguments, "")
    }

    /// The same with this on its standard input. What is about keys is in the key service's program.
    pub fn operator_given(&self, arguments: &[&str], input: &str) -> Finished {
        let service =
            if arguments.first() == Some(&"key") { Service::Keys } else { Service::Identity };
        let program = mortal(binary::named(service.binary()));
        let mut command = binary::clean(program, &std::env::temp_dir());
        command.env("NATS_URL", self.bus_url()).args(arguments);
        Process::start_given(command, input).finish()
    }

    /// Has a command begin that takes back every secret but this one, in identity's database; `--new` is an option.
    pub fn enforcing(&self, secret: &str, options: &[&str]) -> Process {
        let program = mortal(binary::named(Service::Identity.binary()));
        let mut command = binary::clean(program, &std::env::temp_dir());
        command.env("DATABASE_URL", self.database(Service::Identity)).env("SECRET_KEY", secret);
        command.args(["secret", "enforce"]).args(options);
        Process::start(command)
    }

    /// The bus' server.
    pub fn bus(&mut self) -> &mut nats::Server {
        &mut self.bus
    }

    /// What stands between a process and the bus.
    pub fn relay(&self, service: Service, number: usize) -> &Relay {
        let relay = self.relays.get(&service).and_then(|relays| relays.get(number));
        relay.expect("asked for with Builder::relayed")
    }

    /// The cluster's own Postgres server.
    pub fn postgres(&mut self) -> &mut postgres::Server {
        self.postgres.as_mut().expect("asked for with Builder::own_postgres")
    }
}
