//! The system as the clients of a story see it: edges over HTTP, or edges in this process.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use latchkey_bus::{Bus, Nats, NatsOptions, RequestId};
use latchkey_contract::identity::{FindUser, SetActive};
use latchkey_contract::wire::Contracts;
use latchkey_contract::{Mark, Rpc};
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

    /// Asks an edge; `None` where no answer came.
    pub async fn send(&self, way: &Way, ask: &Ask<'_>) -> Option<Reply> {
        match self {
            Self::Processes(processes) => processes.send(way, ask).await,
            Self::Miniature(miniature) => Some(miniature.send(way, ask).await),
        }
    }

    /// Shuts a user out or lets them in, as an operator does; whether everybody confirmed.
    pub async fn set_active(&self, way: &Way, username: &str, active: bool) -> bool {
        let bus = match self {
            Self::Processes(processes) => &processes.bus,
            Self::Miniature(miniature) => miniature.operator(),
        };
        let request_id = RequestId::new(&way.name);
        let context = || operator::context(bus, &request_id, SetActive::TIMEOUT);
        let find = FindUser { username: username.to_owned() };
        let Ok(state) = bus.call(&context(), &find).await else { return false };
        let mark = Mark(Entropy::System.bytes());
        let request = SetActive { user: state.user, active, version: state.active_version, mark };
        bus.call(&context(), &request).await.is_ok_and(|set| set.keys.is_some())
    }

    /// Waits until nothing is under way any more that nobody waits for.
    pub async fn quiet(&self) {
        if let Self::Miniature(miniature) = self {
            miniature.quiet().await;
        }
    }

    /// Finds out when each key was certainly not yet handed out.
    pub async fn date(&self, history: &Mutex<History>) {
        let keys: Vec<(String, i64)> = {
            let history = history.lock().expect("no client failed");
            history.keys.iter().map(|key| (key.request.clone(), key.id)).collect()
        };
        let moments = match self {
            Self::Processes(processes) => processes.created(&keys).await,
            Self::Miniature(miniature) => {
                keys.iter().map(|(request, _)| miniature.issued(request)).collect()
            }
        };
        let mut history = history.lock().expect("no client failed");
        for (key, moment) in history.keys.iter_mut().zip(moments) {
            key.not_before = moment;
        }
    }
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

    /// The key service's word on when it made a key, before it was handed out: its clock is ours.
    async fn created(&self, keys: &[(String, i64)]) -> Vec<Option<Instant>> {
        let mut database = PgConnection::connect(&self.keys).await.expect("the database is there");
        let mut moments = Vec::with_capacity(keys.len());
        let (wall, began) = self.began;
        let wall = wall.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        for (_, id) in keys {
            let query = sqlx::query_scalar("SELECT created_at FROM api_keys WHERE id = $1");
            let found: i64 = query.bind(id).fetch_one(&mut database).await.expect("a key");
            let millis = Duration::from_millis(u64::try_from(found).expect("after 1970"));
            moments.push(millis.checked_sub(wall).map(|since| began + since));
        }
        moments
    }
}
