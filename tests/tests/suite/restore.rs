//! Databases that are put back to what they were, and what is made of that: an operator begins a new epoch, every
//! edge forgets, and the key service is told of the owners anew, by itself.

use std::path::PathBuf;
use std::time::Duration;

use e2e::account::PASSWORD;
use e2e::cluster::Replica;
use e2e::tap::Tap;
use e2e::{Api, Cluster, Folder, Key, Service, Stack, User, database, poll, postgres};
use tokio::task::block_in_place;

/// Bound on whatever comes by itself.
const SOON: Duration = Duration::from_mins(1);
/// Exit code: the database cannot be used.
const DATA: i32 = 73;
/// Begins a new epoch.
const NEW_EPOCH: &[&str] = &["new-epoch"];
/// Accounts that take more than two pages.
const MANY: &str = "1200";

/// A cluster with two replicas of each service, and a copy of a database.
struct Scene {
    cluster: Cluster,
    apis: Vec<Api>,
    folder: Folder,
}

impl Scene {
    fn start() -> Self {
        let mut builder = Cluster::builder()
            .set("LEASE_MS", "500")
            .set_for(Service::Identity, "ARGON2_MEMORY_KIB", "8192")
            .set_for(Service::Identity, "ARGON2_ITERATIONS", "1");
        for service in Service::ALL {
            builder = builder.replicas(service, 2);
        }
        let cluster = block_in_place(|| builder.start());
        let apis = (0..2).map(|edge| cluster.api(edge)).collect();
        Self { cluster, apis, folder: Folder::new() }
    }

    async fn user(&self) -> (User, Key) {
        let user = self.apis[0].user().await;
        let key = self.apis[0].key(&user.token, "ci").await;
        for api in &self.apis {
            api.as_service(&key.key).await.expect(200);
        }
        (user, key)
    }

    fn operator(&self, command: &str, user: &User) {
        let done = block_in_place(|| self.cluster.operator(&["user", command, &user.username]));
        assert_eq!(done.code, Some(0), "{command}: {}", done.stderr);
    }

    fn copy(&self, service: Service) -> PathBuf {
        self.folder.join(service.binary())
    }

    fn dump(&self, service: Service) {
        block_in_place(|| postgres::dump(self.cluster.database(service), &self.copy(service)));
    }

    fn kill(&mut self, service: Service) {
        self.cluster.of(service).iter_mut().for_each(Replica::kill);
    }

    fn launch(&mut self, service: Service) {
        block_in_place(|| {
            for replica in self.cluster.of(service) {
                replica.launch();
            }
            for replica in self.cluster.of(service) {
                replica.wait_ready();
            }
        });
    }

    fn new_epoch(&self, service: Service) {
        let done = block_in_place(|| self.cluster.replica(service, 0).run(NEW_EPOCH));
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        assert!(done.stdout.contains("has begun a new epoch"), "{}", done.stdout);
    }

    /// Puts a service's database back while nobody uses it; the service is left stopped.
    fn restore(&mut self, service: Service) {
        self.kill(service);
        block_in_place(|| postgres::restore(self.cluster.database(service), &self.copy(service)));
        self.new_epoch(service);
    }

    /// Waits until every edge accepts one key, and fails where any accepts the other meanwhile or after.
    async fn until_accepted(&self, good: &Key, never: &Key) {
        for api in &self.apis {
            poll::until_async("the key is accepted", SOON, async || {
                let refused = api.as_service(&never.key).await;
                assert!([401, 503].contains(&refused.status), "{}", refused.text());
                (api.as_service(&good.key).await.status == 200).then_some(())
            })
            .await;
            api.as_service(&never.key).await.unauthenticated();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_whoever_was_deactivated_after_the_backup_of_keys_do_not_come_back() {
    let mut scene = Scene::start();
    let (stays, good) = scene.user().await;
    let (out, ended) = scene.user().await;
    scene.dump(Service::Keys);
    scene.operator("deactivate", &out);
    scene.restore(Service::Keys);
    scene.kill(Service::Identity);
    scene.launch(Service::Keys);
    // Nobody can say whose owner is deactivated.
    for api in &scene.apis {
        api.as_service(&ended.key).await.problem(503, "");
        api.as_service(&good.key).await.problem(503, "");
    }
    scene.launch(Service::Identity);
    scene.until_accepted(&good, &ended).await;
    scene.operator("deactivate", &stays);
    for api in &scene.apis {
        api.as_service(&good.key).await.unauthenticated();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_backup_of_identity_says_of_accounts_holds_and_no_session_from_before_does() {
    let mut scene = Scene::start();
    let (back, good) = scene.user().await;
    let (out, ended) = scene.user().await;
    let ends = scene.apis[0].token(&back.username, PASSWORD).await;
    scene.operator("deactivate", &out);
    scene.dump(Service::Identity);
    scene.operator("reactivate", &out);
    scene.operator("deactivate", &back);
    scene.apis[0].as_service(&ended.key).await.expect(200);
    scene.apis[0].as_service(&good.key).await.unauthenticated();

    scene.restore(Service::Identity);
    scene.launch(Service::Identity);
    for api in &scene.apis {
        poll::until_async("what was told since is taken back", SOON, async || {
            (api.as_service(&ended.key).await.status == 401).then_some(())
        })
        .await;
    }
    scene.until_accepted(&good, &ended).await;
    for api in &scene.apis {
        api.as_user(&ends).await.unauthenticated();
        api.as_user(&back.token).await.unauthenticated();
        api.log_in(&out.username, PASSWORD).await.problem(400, "Inactive user account");
        api.log_in(&back.username, PASSWORD).await.expect(200);
    }
    scene.operator("deactivate", &back);
    scene.operator("reactivate", &out);
    for api in &scene.apis {
        api.as_service(&good.key).await.unauthenticated();
        api.as_service(&ended.key).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_databases_are_put_back_and_a_telling_that_breaks_off_is_gone_on_with() {
    let mut scene = Scene::start();
    let (_, good) = scene.user().await;
    let (out, ended) = scene.user().await;
    let many = "INSERT INTO users (email, email_canonical, username, username_canonical, password_hash, \
        is_active, created_at) SELECT t, t, t, t, 'x', FALSE, 0 \
        FROM (SELECT 'out' || n AS t FROM generate_series(1, CAST($1 AS BIGINT)) AS n) AS names";
    database::execute(scene.cluster.database(Service::Identity), many, MANY).await;
    scene.operator("deactivate", &out);
    scene.dump(Service::Identity);
    scene.dump(Service::Keys);
    scene.operator("reactivate", &out);
    scene.restore(Service::Identity);
    scene.restore(Service::Keys);
    scene.launch(Service::Keys);
    let mut tap = Tap::on(&scene.cluster.bus_url(), "v1.keys.operator.tell-owners").await;
    block_in_place(|| scene.cluster.of(Service::Identity).iter_mut().for_each(Replica::launch));
    tap.next().await;
    scene.kill(Service::Identity);
    scene.launch(Service::Identity);
    scene.until_accepted(&good, &ended).await;
    let told = "SELECT CAST(count(*) AS TEXT) FROM keys_disabled_owners WHERE owner_id > CAST($1 AS BIGINT)";
    let told = database::text(scene.cluster.database(Service::Keys), told, "0").await;
    assert_eq!(told, "1201");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_epoch_under_running_services_returns_when_no_edge_relies_on_anything_older() {
    let scene = Scene::start();
    let (_, key) = scene.user().await;
    let (_, other) = scene.user().await;
    // What a restore changes nobody is told of.
    let revoke = "UPDATE api_keys SET revoked_at = 1 WHERE id = CAST($1 AS BIGINT)";
    let id = key.id.to_string();
    assert_eq!(database::execute(scene.cluster.database(Service::Keys), revoke, &id).await, 1);
    scene.new_epoch(Service::Keys);
    for api in &scene.apis {
        api.as_service(&key.key).await.unauthenticated();
    }
    scene.until_accepted(&other, &key).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_begins_a_new_epoch_of_a_file_that_nobody_uses() {
    // The services' own commands are tried above.
    if Stack::is_cluster() {
        return;
    }
    let mut stack = block_in_place(Stack::start);
    let refused = block_in_place(|| stack.operator(NEW_EPOCH));
    assert_eq!(refused.code, Some(DATA), "{}", refused.stderr);
    assert!(refused.stderr.contains("in use"), "{}", refused.stderr);

    let (user, out) = (stack.api().user().await, stack.api().user().await);
    let key = stack.api().key(&user.token, "ci").await;
    let ended = stack.api().key(&out.token, "ci").await;
    let deactivate = |stack: &Stack, user: &User| {
        let done = block_in_place(|| stack.operator(&["user", "deactivate", &user.username]));
        assert_eq!(done.code, Some(0), "{}", done.stderr);
    };
    deactivate(&stack, &out);
    let file = stack.embedded().expect("one process").database;
    block_in_place(|| stack.stop());
    let folder = Folder::new();
    let copy = folder.join("copy.db");
    std::fs::copy(&file, &copy).unwrap();
    block_in_place(|| stack.restart());
    deactivate(&stack, &user);
    stack.api().as_service(&key.key).await.unauthenticated();

    block_in_place(|| stack.stop());
    std::fs::copy(&copy, &file).unwrap();
    let done = block_in_place(|| stack.operator(NEW_EPOCH));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    block_in_place(|| stack.restart());
    let api = stack.api();
    poll::until_async("the key is accepted", SOON, async || {
        assert_ne!(api.as_service(&ended.key).await.status, 200);
        (api.as_service(&key.key).await.status == 200).then_some(())
    })
    .await;
    api.as_service(&ended.key).await.unauthenticated();
    api.as_user(&user.token).await.unauthenticated();
    api.log_in(&user.username, PASSWORD).await.expect(200);

    block_in_place(|| stack.stop());
    std::fs::remove_file(&file).unwrap();
    let none = block_in_place(|| stack.operator(NEW_EPOCH));
    assert_eq!(none.code, Some(DATA), "{}", none.stderr);
    assert!(none.stderr.contains("there is no database"), "{}", none.stderr);
    assert!(!file.exists(), "none is made");
}
