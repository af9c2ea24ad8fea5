//! Walks through two logs of any shape, in pages of any length, find each event once and in order.

use latchkey_contract::Timestamp;

use super::*;

fn event(id: i64, at: i64) -> AuditEvent {
    AuditEvent {
        id,
        seq: None,
        at: Timestamp(at),
        action: String::new(),
        outcome: String::new(),
        reason: None,
        actor_type: String::new(),
        actor_id: None,
        actor_name: None,
        target: None,
        org_id: None,
        ip: None,
        user_agent: None,
        request_id: String::new(),
        revision: None,
        changes: None,
        hash: None,
    }
}

/// What a service answers that has these events, by rising id, with at most `most` of them in a message.
fn answer(log: &[AuditEvent], behind: Option<i64>, order: Order, most: usize) -> EventPage {
    let is_behind = |event: &&AuditEvent| match (order, behind) {
        (_, None) => true,
        (Order::Falling, Some(behind)) => event.id < behind,
        (Order::Rising, Some(behind)) => event.id > behind,
    };
    let mut left: Vec<AuditEvent> = log.iter().filter(is_behind).cloned().collect();
    if order == Order::Falling {
        left.reverse();
    }
    let has_more = left.len() > most;
    left.truncate(most);
    let next = left.last().map(|event| event.id).filter(|_| has_more);
    EventPage { events: left, next }
}

/// A walk from the first page to the last; `meanwhile` happens between pages.
fn walk(
    logs: &mut [Vec<AuditEvent>; 2],
    order: Order,
    limit: usize,
    most: usize,
    meanwhile: impl Fn(&mut [Vec<AuditEvent>; 2], usize),
) -> Vec<(Logged, i64)> {
    let (mut found, mut from) = (Vec::new(), None::<Cursor>);
    for page in 0..1_000 {
        let mut one = Stream::new(Logged::Identity, from.map(|from| from.identity), order);
        let mut other = Stream::new(Logged::Keys, from.map(|from| from.keys), order);
        let mut merged = Vec::new();
        while merged.len() < limit && (one.is_dry() || other.is_dry()) {
            for (stream, log) in [(&mut one, &logs[0]), (&mut other, &logs[1])] {
                if stream.is_dry() {
                    stream.take(answer(log, stream.ahead(), order, most));
                }
            }
            merge(&mut merged, limit, &mut one, &mut other);
        }
        let merged = Merged::new(merged, &one, &other);
        assert!(merged.events.len() <= limit);
        found.extend(merged.events.iter().map(|(of, event)| (*of, event.id)));
        let Some(next) = merged.next else { return found };
        assert_eq!(Cursor::parse(&next.to_string(), order), Some(next));
        from = Some(next);
        meanwhile(logs, page);
    }
    panic!("pages without end");
}

fn logs() -> [Vec<AuditEvent>; 2] {
    // Ids have gaps, as of others' events, and times fall together.
    let log = |step: i64| (1..=9).map(|n| event(n * step, n * 10 / step)).collect();
    [log(1), log(2)]
}

#[test]
fn a_walk_finds_each_event_once_and_in_order() {
    for order in [Order::Falling, Order::Rising] {
        let mut expected: Vec<(i64, Logged, i64)> = Vec::new();
        for (of, log) in [Logged::Identity, Logged::Keys].into_iter().zip(logs()) {
            expected.extend(log.iter().map(|event| (event.at.0, of, event.id)));
        }
        expected.sort_unstable();
        if order == Order::Falling {
            expected.reverse();
        }
        let expected: Vec<_> = expected.into_iter().map(|(_, of, id)| (of, id)).collect();
        for (limit, most) in (1..=20).flat_map(|limit| [1, 2, 3, 100].map(|most| (limit, most))) {
            let found = walk(&mut logs(), order, limit, most, |_, _| {});
            assert_eq!(found, expected, "{order:?} {limit} {most}");
        }
    }
}

#[test]
fn what_is_written_meanwhile_is_behind_the_beginning_or_at_the_end_of_a_walk() {
    let write = |logs: &mut [Vec<AuditEvent>; 2], page: usize| {
        if page < 5 {
            let at = 1_000 + i64::try_from(page).unwrap();
            for log in logs {
                log.push(event(at, at));
            }
        }
    };
    for limit in 1..=5 {
        let falling = walk(&mut logs(), Order::Falling, limit, 2, write);
        assert!(falling.iter().all(|(_, id)| *id < 1_000), "{limit}: {falling:?}");
        assert_eq!(falling.len(), 18);
        let mut written = logs();
        let mut rising = walk(&mut written, Order::Rising, limit, 2, write);
        let all = rising.len();
        rising.sort_unstable();
        rising.dedup();
        assert_eq!((all, rising.len()), (rising.len(), written[0].len() + written[1].len()));
    }
    let empty = walk(&mut [Vec::new(), Vec::new()], Order::Falling, 3, 2, |_, _| {});
    assert!(empty.is_empty());
}
