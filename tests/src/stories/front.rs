//! The system as the clients of a story see it: edges over HTTP, or edges in this process.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use latchkey_bus::{Bus, Nats, NatsOptions, RequestId};
use latchkey_contract::identity::{FindUser, SetActive, SetCeiling};
use latchkey_contract::wire::Contracts;
use latchkey_contract::{Mark, Rpc, Scopes};
use latchkey_identity::operator;
use latchkey_runtime::Entropy;
use serde_json::Value;
use sqlx::{Connection, PgConnection};

use super::Way;
use super::history::History;
use crate::miniature::Miniature;
use crate::{Api, Cluster, Service, unique};

/// A request in the making.
#[derive(Debug)]
pub struct Ask<'a> {
    /// Its method.
    pub method: &'static str,
    /// Its path.
    pub path: String,
    /// A token.
    pub token: Option<&'a str>,
    /// An API key.
    pub key: Option<&'a str>,
    /// A body.
    pub body: Option<&'a Value>,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its body; null where that is no JSON.
    pub body: Value,
}

/// Where stories are told.
pub enum Front {
    /// To processes.
    Processes(Box<Processes>),
    /// Inside this process.
    Miniature(Box<Miniature>),
}

/// A cluster's edges and bus.
pub struct Processes {
    edges: Vec<Api>,
    bus: Bus,
    keys: String,
    began: (SystemTime, Instant),
}

impl<'a> Ask<'a> {
    /// A request without anything.
    fn new(method: &'static str, path: String) -> Self {
        Self { method, path, token: None, key: None, body: None }
    }

    /// A GET request.
    pub fn get(path: &str) -> Self {
        Self::new("GET", path.to_owned())
    }

    /// A POST request.
    pub fn post(path: &str) -> Self {
        Self::new("POST", path.to_owned())
    }

    /// A PATCH request.
    pub fn patch(path: String) -> Self {
        Self::new("PATCH", path)
    }

    /// A DELETE request.
    pub fn delete(path: String) -> Self {
        Self::new("DELETE", path)
    }

    /// Shows a token.
    #[must_use]
    pub fn bearer(self, token: &'a str) -> Self {
        Self { token: Some(token), ..self }
    }

    /// Shows an API key.
    #[must_use]
    pub fn key(self, key: &'a str) -> Self {
        Self { key: Some(key), ..self }
    }

    /// Has a JSON body.
    #[must_use]
    pub fn with(self, body: &'a Value) -> Self {
        Self { body: Some(body), ..self }
    }
}

impl Reply {
    /// The code of a problem document, the last part of its type.
    pub fn code(&self) -> &str {
        let kind = self.body["type"].as_str().unwrap_or_default();
        kind.rsplit(':').next().unwrap_or_default()
    }
}

impl Front {
    /// How many edges there are.
    pub fn edges(&self) -> usize {
        match self {
            Self::Processes(processes) => processes.edges.len(),
            Self::Miniature(miniature) => miniature.edges(),
        }
    }

    /// Whether an edge goes on with a request whose client has hung up: it cannot tell that from one who has only closed
    /// their half of the connection. Inside this process it is dropped.
    pub fn edges_go_on(&self) -> bool {
        matches!(self, Self::Processes(_))
    }

    /// Asks an edge; `None` where no answer came.
    pub async fn send(&self, way: &Way, ask: &Ask<'_>) -> Option<Reply> {
        match self {
            Self::Processes(processes) => processes.send(way, ask).await,
            Self::Miniature(miniature) => Some(miniature.send(way, ask).await),
        }
    }

    /// Shuts a user out or lets them in, as an operator does; whether everybody confirmed.
    pub async fn set_active(&self, way: &Way, username: &str, active: bool) -> bool {
        let (bus, request_id) = (self.operator(), RequestId::new(&way.name));
        let context = || operator::context(bus, &request_id, SetActive::TIMEOUT);
        let find = FindUser { username: username.to_owned() };
        let Ok(state) = bus.call(&context(), &find).await else { return false };
        let mark = Mark(Entropy::System.bytes());
        let request = SetActive { user: state.user, active, version: state.active_version, mark };
        bus.call(&context(), &request).await.is_ok_and(|set| set.keys.is_some())
    }

    /// Holds a user to these scopes, or to none of their own, as an operator does; whether everybody confirmed.
    pub async fn set_ceiling(&self, way: &Way, username: &str, ceiling: Option<&str>) -> bool {
        let (bus, request_id) = (self.operator(), RequestId::new(&way.name));
        let context = || operator::context(bus, &request_id, SetCeiling::TIMEOUT);
        let find = FindUser { username: username.to_owned() };
        let Ok(state) = bus.call(&context(), &find).await else { return false };
        let (user, version) = (state.user, state.ceiling_version);
        let ceiling = ceiling.map(|text| Scopes::parse(text).expect("scopes"));
        let request = SetCeiling { user, ceiling, version, mark: Mark(Entropy::System.bytes()) };
        bus.call(&context(), &request).await.is_ok_and(|set| set.keys.is_some())
    }

    fn operator(&self) -> &Bus {
        match self {
            Self::Processes(processes) => &processes.bus,
            Self::Miniature(miniature) => miniature.operator(),
        }
    }

    /// Waits until nothing is under way any more that nobody waits for.
    pub async fn quiet(&self) {
        if let Self::Miniature(miniature) = self {
            miniature.quiet().await;
        }
    }

    /// Finds out when each key was certainly not yet handed out, and whether each is in the database, with the key that it
    /// replaced.
    pub async fn date(&self, history: &Mutex<History>) {
        let keys: Vec<Made> = {
            let history = history.lock().expect("no client failed");
            let id = |number: usize| history.keys[number].id;
            let made = history.keys.iter();
            made.map(|key| Made {
                request: key.request.clone(),
                id: key.id,
                replaces: key.replaces.map(id),
            })
            .collect()
        };
        let mut found = Vec::with_capacity(keys.len());
        match self {
            Self::Processes(processes) => {
                let connected = PgConnection::connect(&processes.keys).await;
                let mut database = connected.expect("the database is there");
                for key in &keys {
                    found.push(processes.created(&mut database, key).await);
                }
            }
            Self::Miniature(miniature) => {
                for key in &keys {
                    let is_there = miniature.has_key(key.id, key.replaces).await;
                    found.push(is_there.then(|| miniature.issued(&key.request)));
                }
            }
        }
        let mut history = history.lock().expect("no client failed");
        for (number, (made, moment)) in keys.iter().zip(found).enumerate() {
            match moment {
                Some(moment) => history.keys[number].not_before = moment,
                None => history.lost.push(format!("{made:?}")),
            }
        }
    }
}

/// A key that was handed out.
#[derive(Debug)]
struct Made {
    request: String,
    id: i64,
    /// The id of the key that it replaced.
    replaces: Option<i64>,
}

impl Processes {
    /// The edges of a cluster, and an operator on its bus.
    pub async fn of(cluster: &Cluster) -> Self {
        let options = NatsOptions {
            url: cluster.bus_url(),
            name: "operator".to_owned(),
            unique: unique("operator"),
            user: None,
            ca_file: None,
            contracts: Contracts::OWN,
        };
        let nats = Nats::connect(options).await.expect("connect to NATS");
        Self {
            edges: cluster.edges().iter().map(|edge| Api::new(edge)).collect(),
            bus: Bus::Nats(nats),
            keys: cluster.database(Service::Keys).to_owned(),
            began: (SystemTime::now(), Instant::now()),
        }
    }

    async fn send(&self, way: &Way, ask: &Ask<'_>) -> Option<Reply> {
        let mut call = self.edges[way.edge].call(ask.method, &ask.path);
        call = call.header("x-request-id", &way.name);
        if let Some(token) = ask.token {
            call = call.bearer(token);
        }
        if let Some(key) = ask.key {
            call = call.api_key(key);
        }
        if let Some(body) = ask.body {
            call = call.json(body);
        }
        let answer = call.try_send().await.ok()?;
        let body = serde_json::from_slice(&answer.body).unwrap_or_default();
        Some(Reply { status: answer.status, body })
    }

    /// The key service's word on when it made a key, before it was handed out: its clock is ours. `None` where there is no
    /// such key that replaced the other, which says so too.
    async fn created(&self, database: &mut PgConnection, key: &Made) -> Option<Option<Instant>> {
        let query = sqlx::query_scalar(
            "SELECT created_at FROM api_keys AS made WHERE id = $1 AND COALESCE(replaces, 0) = $2 AND (replaces IS NULL \
             OR EXISTS (SELECT 1 FROM api_keys AS old WHERE old.id = $2 AND old.replaced_by = $1))",
        );
        let query = query.bind(key.id).bind(key.replaces.unwrap_or(0));
        let found: Option<i64> =
            query.fetch_optional(database).await.expect("the database is there");
        let (wall, began) = self.began;
        let wall = wall.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        let millis = Duration::from_millis(u64::try_from(found?).expect("after 1970"));
        Some(millis.checked_sub(wall).map(|since| began + since))
    }
}
