//! What the tests of this crate share: the key service's authority, on a SQLite file and a bus inside the process.

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use latchkey_bus::{Bus, Context, RequestId};
use latchkey_contract::keys::KeysAuthority;
use latchkey_contract::lease::{MemberId, Revision, Tag};
use latchkey_contract::{CredentialHash, Timestamp};
use latchkey_revocation::Bounds;
use latchkey_revocation::bounds::Settings as Times;
use latchkey_revocation::config::Settings;
use latchkey_runtime::supervisor::Running;
use latchkey_runtime::{Clock, Entropy, Root};
use latchkey_store::{Db, Migration, Value, values};
use tracing::span;

use crate::statements::Sql;
use crate::{Authority, Change, MemberKey, Store, append_invalidation};

/// What the wall clock shows at the beginning.
pub(crate) const NOW: Timestamp = Timestamp(1_800_000_000_000);
/// A credential.
pub(crate) const HASH: CredentialHash = CredentialHash([7; 32]);
/// The user of the bus that every member is, but for those that say otherwise.
pub(crate) const USER: &str = "edge";

pub(crate) const SQL: Sql = crate::sql!("keys");
const MIGRATIONS: &[Migration] = &[
    Migration::new(1, "api keys", include_str!("../../../migrations/keys/0001_api_keys.sql")),
    Migration::new(2, "revocation", include_str!("../../../migrations/keys/0002_revocation.sql")),
    Migration::new(4, "members", include_str!("../../../migrations/keys/0004_members.sql")),
];

/// A folder that goes with the test.
pub(crate) struct Folder(PathBuf);

pub(crate) struct Bench {
    pub(crate) authority: Arc<Authority<KeysAuthority>>,
    pub(crate) store: Store,
    pub(crate) bus: Bus,
    pub(crate) clock: Clock,
    running: Running,
    folder: Folder,
}

/// A lease of two seconds, as usual; changes return early. `test` names the file.
pub(crate) async fn bench(test: &str) -> Bench {
    bench_of(test, Settings { bounds: Bounds::default(), early: true }).await
}

/// The shortest lease, so that a whole wait is over soon.
pub(crate) async fn hasty_bench(test: &str) -> Bench {
    waiting_bench(test, Bounds::MIN_LEASE + Bounds::MIN_MARGIN).await
}

/// The shortest lease, and changes that wait for so many milliseconds.
pub(crate) async fn waiting_bench(test: &str, wait: u64) -> Bench {
    let lease = Bounds::MIN_LEASE;
    let bounds = Bounds::new(Times { lease, renewal: lease / 2, wait, drift: 0 }).unwrap();
    bench_of(test, Settings { bounds, early: true }).await
}

async fn bench_of(test: &str, settings: Settings) -> Bench {
    let folder = Folder::new(test);
    let url = format!("sqlite://{}", folder.0.join("keys.db").display());
    let db = Db::open(&url, "test", 1).await.unwrap();
    db.migrate("keys", MIGRATIONS).await.unwrap();
    let (bus, clock) = (Bus::local(), Clock::manual(NOW.0));
    let store = Store { db: db.clone(), sql: &SQL };
    let entropy = Entropy::seeded(1);
    let started = Authority::start(settings, db, &SQL, bus.clone(), clock.clone(), &entropy).await;
    let (authority, child) = started.unwrap();
    let running = Root::start(vec![child]).await.unwrap();
    Bench { authority, store, bus, clock, running, folder }
}

impl Bench {
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.clock.unix_millis())
    }

    /// Commits a change.
    pub(crate) async fn commit(&self, tag: Tag<CredentialHash>) -> Change {
        let mut tx = self.store.db.begin("test").await.unwrap();
        let row = append_invalidation(&mut tx, &SQL, tag, self.now()).await.unwrap();
        tx.commit().await.unwrap();
        Change { tag, row, earlier: None }
    }

    /// A member that has joined in this contract.
    pub(crate) async fn member(&self, id: u8, contract: u16) -> MemberKey {
        let key = member(id, USER);
        self.store.join(&key, contract, self.now()).await.unwrap().unwrap();
        key
    }

    /// When a member was last noted to live.
    pub(crate) async fn noted(&self, key: &MemberKey) -> Option<i64> {
        let sql = "SELECT renewed_at FROM keys_members WHERE id = $1";
        let row: Option<(i64,)> = self.store.db.fetch_first(sql, values![&key.id.0]).await.unwrap();
        row.map(|(at,)| at)
    }

    /// Writes by a statement of the test's own.
    pub(crate) async fn execute(&self, sql: &'static str, values: &[Value<'_>]) {
        self.store.db.execute(sql, values).await.unwrap();
    }

    /// Ends what has been started, once everything that goes on has come to its end.
    pub(crate) async fn end(self) {
        self.authority.tasks.close();
        self.authority.tasks.wait().await;
        self.running.stop().await;
        self.store.db.close().await;
        drop(self.folder);
    }
}

/// Who asks, as this user of the bus.
pub(crate) fn asker(user: Option<&str>) -> Context {
    let context = Context::new(RequestId::new("test"), std::time::Duration::from_secs(20));
    Context { asker: user.map(Arc::from), ..context }
}

pub(crate) fn member(id: u8, user: &str) -> MemberKey {
    MemberKey { id: MemberId([id; 16]), user: Arc::from(user) }
}

pub(crate) fn at(revision: i64) -> Revision {
    Revision(revision)
}

impl Folder {
    fn new(test: &str) -> Self {
        let name = format!("latchkey-authority-{}-{test}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // Of a process of the same number that was killed.
        drop(fs::remove_dir_all(&path));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

thread_local! {
    /// The warnings of one test, whose tasks all run on its thread.
    static WARNINGS: Cell<usize> = const { Cell::new(0) };
}

/// Hears what is logged.
struct Ear;

/// Counts the warnings of this test from now on. For all threads at once: what a subscriber of one thread alone hears
/// depends on who comes first to each line.
pub(crate) fn warnings() -> impl Fn() -> usize {
    // Another test may have been faster.
    drop(tracing::subscriber::set_global_default(Ear));
    WARNINGS.set(0);
    || WARNINGS.get()
}

impl tracing::Subscriber for Ear {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN && metadata.target().starts_with("latchkey")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        WARNINGS.set(WARNINGS.get() + 1);
    }

    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}
