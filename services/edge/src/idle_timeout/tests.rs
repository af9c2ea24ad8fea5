//! Sweeps without time: which connections they close.

use super::*;

const KEEP_ALIVE: Duration = Duration::from_secs(75);
const IDLE_SWEEPS: u32 = 30;

#[expect(clippy::disallowed_methods, reason = "as connections are")]
fn open() -> tokio::task::JoinHandle<()> {
    tokio::spawn(std::future::pending::<()>())
}

fn add(watch: &Watch) -> (tokio::task::JoinHandle<()>, Activity) {
    let (connection, activity) = (open(), Activity::default());
    watch.add(connection.abort_handle(), activity.clone());
    (connection, activity)
}

async fn is_closed(connection: tokio::task::JoinHandle<()>) -> bool {
    connection.await.is_err_and(|error| error.is_cancelled())
}

#[tokio::test]
async fn an_idle_connection_lives_as_long_as_is_configured() {
    for (seconds, sweeps) in [(5, 2), (75, 30), (76, 31), (3_600, 1_440)] {
        let watch = Watch::new(Duration::from_secs(seconds));
        let (connection, _) = add(&watch);
        // The first one finds it new: a whole pause lies between each two of the others.
        for _ in 0..sweeps {
            watch.look();
        }
        assert_eq!(watch.connections.lock().unwrap().len(), 1, "{seconds}");
        watch.look();
        assert!(is_closed(connection).await, "{seconds}");
    }
}

#[tokio::test]
async fn a_head_has_a_bound_of_its_own_that_no_drip_moves() {
    let watch = Watch::new(KEEP_ALIVE);
    let [(fresh, first), (used, second)] = [(); 2].map(|()| add(&watch));
    second.read(b"GET / HTTP/1.1\r\n\r\n");
    second.answered();
    for _ in 0..5 {
        watch.look();
    }
    for activity in [&first, &second] {
        // Line ends alone are no head.
        activity.read(b"\r\n");
        assert_eq!(activity.now() & PHASE, 0);
        activity.read(b"GET / HT");
    }
    assert_eq!(watch.look(), Swept::default());
    first.read(b"T");
    second.read(b"T");
    assert_eq!(watch.look(), Swept::default());
    first.read(b"P");
    assert_eq!(watch.look(), Swept { slow_heads: 2 });
    assert!(is_closed(fresh).await && is_closed(used).await);
}

#[tokio::test]
async fn a_connection_in_use_is_not_closed() {
    let watch = Watch::new(KEEP_ALIVE);
    let [(working, in_hand), (many, busy)] = [(); 2].map(|()| add(&watch));
    in_hand.read(b"GET");
    in_hand.busy();
    for _ in 0..2 * IDLE_SWEEPS {
        // The rest of a body is no head.
        in_hand.read(b"more");
        busy.read(b"GET");
        busy.answered();
        watch.look();
    }
    assert!(!working.is_finished() && !many.is_finished());
    // The answer was given, but its client has not taken it yet.
    in_hand.answered();
    in_hand.wrote(true);
    for _ in 0..STALLED_SWEEPS {
        watch.look();
    }
    assert!(!working.is_finished());
    // Now it has, and nothing came after it.
    in_hand.wrote(false);
    for _ in 0..=IDLE_SWEEPS {
        busy.answered();
        watch.look();
    }
    assert!(is_closed(working).await);
    assert!(!many.is_finished());
}

#[tokio::test]
async fn room_is_made_by_whoever_is_of_no_use_and_then_by_the_longest_idle() {
    let watch = Watch::new(KEEP_ALIVE);
    let old: Vec<_> = (0..GIVEN_UP).map(|_| add(&watch)).collect();
    let (silent, _) = add(&watch);
    let (working, in_hand) = add(&watch);
    in_hand.busy();
    let (begun, head) = add(&watch);
    head.read(b"GET");
    for (_, activity) in &old {
        activity.answered();
    }
    watch.look();
    watch.look();
    let (recent, activity) = add(&watch);
    activity.answered();
    let (new, _) = add(&watch);
    watch.make_room();
    assert!(is_closed(silent).await);
    let mut old: Vec<_> = old.into_iter().map(|(connection, _)| connection).collect();
    let last = old.pop().unwrap();
    for connection in old {
        assert!(is_closed(connection).await);
    }
    assert!(!last.is_finished());
    watch.make_room();
    assert!(is_closed(last).await && is_closed(recent).await && is_closed(new).await);
    assert!(!working.is_finished() && !begun.is_finished());
}

#[test]
fn what_was_left_unread_is_known_until_the_next_answer() {
    let activity = Activity::default();
    activity.busy();
    activity.answered();
    activity.leave_unread();
    assert!(activity.is_unread());
    activity.busy();
    activity.answered();
    assert!(!activity.is_unread());
}
