//! What an operator does by command is one event, of the operator, in the log of each service whose tables it changes; and
//! none where it changes nothing.

use super::*;

/// The events of operators in a line each.
macro_rules! of_operators {
    ($table:literal) => {
        concat!(
            "SELECT action || ' ' || outcome || ' ' || actor_type || ':' || actor_name || ' ' || target_type || ':' || \
             target_id || ' ' || CASE WHEN revision IS NULL THEN '-' ELSE 'revision' END FROM ",
            $table,
            "_audit_events WHERE actor_type = $1 ORDER BY id"
        )
    };
}

/// As where the tables were made by the release before, of which none is there any more.
const LOWER: [(Service, &str); 2] = [
    (Service::Identity, "UPDATE identity_schema SET lowest = lowest - 1 WHERE $1 = ''"),
    (Service::Keys, "UPDATE keys_schema SET lowest = lowest - 1 WHERE $1 = ''"),
];
const OTHER_SECRET: &str = "another-secret-another-secret-another-secret";

/// What operators have done so far.
struct Log {
    stack: Stack,
    seen: [Vec<String>; 2],
}

impl Log {
    async fn read(&self) -> [Vec<String>; 2] {
        let (identity, keys) =
            (self.stack.database(Service::Identity), self.stack.database(Service::Keys));
        [
            database::texts(&identity, of_operators!("identity"), "operator").await,
            database::texts(&keys, of_operators!("keys"), "operator").await,
        ]
    }

    /// Fails unless these are the events since the last time, of identity and of keys.
    async fn since(&mut self, identity: &[&str], keys: &[&str]) {
        let now = self.read().await;
        let new = |service: usize| {
            let (before, now) = (&self.seen[service], &now[service]);
            assert!(now.starts_with(before), "{now:?} after {before:?}");
            now.iter().skip(before.len()).cloned().collect::<Vec<_>>()
        };
        assert_eq!([new(0), new(1)], [identity, keys].map(<[&str]>::to_vec));
        self.seen = now;
    }

    fn user(&self, arguments: &[&str]) {
        let all = [&["user"], arguments].concat();
        let done = tokio::task::block_in_place(|| self.stack.operator(&all));
        assert_eq!(done.code, Some(0), "{}", done.stderr);
    }

    /// Runs a service's own command beside its database.
    fn own(&self, service: Service, arguments: &[&str], set: &[(&str, &str)]) {
        let done = tokio::task::block_in_place(|| self.stack.own(service, arguments, set));
        assert_eq!(done.code, Some(0), "{arguments:?}: {}", done.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_command_is_one_event_in_each_log_that_it_is_about_and_a_repeat_is_none() {
    let acts = acts();
    let user = acts.api.user().await;
    let (name, id) = (user.username.as_str(), user.id);
    let mut log = Log { stack: acts.stack, seen: Default::default() };
    log.since(&[], &[]).await;
    let about = |what: &str| format!("user.{what} success operator:operator user:{id} revision");
    for (arguments, event) in [
        (&["deactivate", name][..], "deactivated"),
        (&["reactivate", name], "reactivated"),
        (&["ceiling", name, "orders:read"], "ceiling_changed"),
        (&["ceiling", name, ""], "ceiling_changed"),
        (&["ceiling", name, "--clear"], "ceiling_changed"),
    ] {
        log.user(arguments);
        log.since(&[&about(event)], &[]).await;
        log.user(arguments);
        log.since(&[], &[]).await;
    }

    let begun =
        |service| format!("admin.epoch_begun success operator:operator service:{service} -");
    let (identity, keys) = (begun("identity"), begun("keys"));
    let revoked = "signing_key.revoked success operator:operator service:identity revision";
    let enforce = ["secret", "enforce", "--new"];
    if !Stack::is_cluster() {
        // One process is alone with its file: whoever has a command for that waits until it has ended.
        tokio::task::block_in_place(|| log.stack.stop());
        log.own(Service::Identity, &["new-epoch"], &[]);
        log.since(&[&identity], &[&keys]).await;
        for events in [&[revoked][..], &[]] {
            log.own(Service::Identity, &enforce, &[("SECRET_KEY", OTHER_SECRET)]);
            log.since(events, &[]).await;
        }
        return;
    }
    log.own(Service::Identity, &["new-epoch"], &[]);
    log.since(&[&identity], &[]).await;
    log.own(Service::Keys, &["new-epoch"], &[]);
    log.since(&[], &[&keys]).await;
    let finish = ["migrate", "--finish"];
    for (service, lower) in LOWER {
        let table = if service == Service::Keys { "keys" } else { "identity" };
        let event = format!("admin.tables_finished success operator:operator service:{table} -");
        // The tables of a new database are for this release alone.
        log.own(service, &finish, &[]);
        log.since(&[], &[]).await;
        assert_eq!(database::execute(&log.stack.database(service), lower, "").await, 1);
        log.own(service, &finish, &[]);
        let is_keys = service == Service::Keys;
        let events = [event.as_str()];
        let (identity, keys): (&[&str], &[&str]) =
            if is_keys { (&[], &events) } else { (&events, &[]) };
        log.since(identity, keys).await;
        log.own(service, &finish, &[]);
        log.since(&[], &[]).await;
    }
    for events in [&[revoked][..], &[]] {
        log.own(Service::Identity, &enforce, &[("SECRET_KEY", OTHER_SECRET)]);
        log.since(events, &[]).await;
    }
}
