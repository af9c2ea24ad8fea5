//! The form that is hashed.

use std::collections::HashMap;

use super::*;

fn record() -> Record {
    Record {
        id: 1042,
        at: 1_796_511_600_123,
        action: "key.revoked".to_owned(),
        outcome: "success".to_owned(),
        reason: None,
        actor_type: "user".to_owned(),
        actor_id: Some(1),
        actor_name: None,
        target_type: Some("key".to_owned()),
        target_id: Some("7".to_owned()),
        org_id: None,
        ip: Some("203.0.113.7".to_owned()),
        user_agent: Some("curl/8.5".to_owned()),
        request_id: "a-1".to_owned(),
        revision: Some(12),
        changes: None,
        seq: None,
        hash: None,
    }
}

fn canonical(record: &Record) -> String {
    String::from_utf8(record.canonical("keys", 1040)).unwrap()
}

#[test]
fn an_event_is_hashed_in_one_form() {
    let expected = concat!(
        r#"{"id":"keys-1042","seq":1040,"at":"2026-12-05T23:00:00.123Z","service":"keys","action":"key.revoked","#,
        r#""outcome":"success","reason":null,"actor":{"type":"user","id":1,"name":null},"#,
        r#""target":{"type":"key","id":7},"org_id":null,"ip":"203.0.113.7","user_agent":"curl/8.5","#,
        r#""request_id":"a-1","revision":12,"changes":null}"#
    );
    assert_eq!(canonical(&record()), expected);
    let session = "12345678901234567890123456789012";
    assert_eq!(id_of("session", session), Value::from(session));
    assert_eq!(id_of("key", "+7"), Value::from("+7"), "two rows never look alike");
}

#[test]
fn a_line_is_what_is_hashed_and_the_link_behind_it() {
    let changes = r#"{"scopes":{"from":["*"],"to":["orders:read"]}}"#.to_owned();
    let mut record = Record { changes: Some(changes), ..record() };
    let unsealed: Value = serde_json::from_str(&record.line("keys")).unwrap();
    assert_eq!((&unsealed["seq"], &unsealed["sealed"]), (&Value::Null, &false.into()));
    (record.seq, record.hash) = (Some(1040), Some(vec![0xab; 32]));
    let hashed = canonical(&record);
    let hashed = hashed.strip_suffix('}').unwrap();
    let link = "ab".repeat(32);
    assert_eq!(record.line("keys"), format!(r#"{hashed},"hash":"{link}","sealed":true}}"#));
    let shown: Value = serde_json::from_str(&record.line("keys")).unwrap();
    assert_eq!(shown["changes"]["scopes"]["to"], serde_json::json!(["orders:read"]));
}

#[test]
fn a_time_that_no_calendar_has_is_its_number() {
    for at in [i64::MIN, i64::MAX, 253_402_300_800_000] {
        let record = Record { at, ..record() };
        assert!(canonical(&record).contains(&format!(r#""at":{at},"#)), "{at}");
    }
}

/// Every text of these pieces, up to four of them: what a spelling of JSON could be mistaken for.
fn texts() -> Vec<String> {
    let pieces = ["{", "}", "\"", "a", ":", ",", "null", "\\", " ", "\n", "1", "\"a\":1"];
    let mut all = vec![String::new()];
    let mut longest = all.clone();
    for _ in 0..4 {
        let longer = |text: &String| pieces.map(|piece| format!("{text}{piece}"));
        longest = longest.iter().flat_map(longer).collect();
        all.extend(longest.iter().cloned());
    }
    all.sort();
    all.dedup();
    all
}

#[test]
fn rows_that_differ_are_hashed_in_different_forms() {
    let mut seen: HashMap<String, String> = HashMap::new();
    let mut tell = |record: &Record, what: String| {
        let canonical = canonical(record);
        assert!(!canonical.contains('\n'), "one line: {what}");
        assert!(serde_json::from_str::<Value>(&canonical).is_ok(), "JSON: {canonical}");
        if let Some(other) = seen.insert(canonical, what.clone()) {
            assert_eq!(other, what, "one form for both");
        }
    };
    let texts = texts();
    assert!(texts.len() > 20_000 && texts.iter().any(|text| is_object(text)));
    for text in &texts {
        let changes = Some(text.clone());
        tell(&Record { changes, ..record() }, format!("changes {text:?}"));
        let reason = Some(text.clone());
        tell(&Record { reason, ..record() }, format!("reason {text:?}"));
        // What ends one member could begin the next.
        let (revision, changes) = (None, Some(text.clone()));
        tell(&Record { revision, changes, ..record() }, format!("unnumbered, changes {text:?}"));
    }
    let kinds = [None, Some("key"), Some("session"), Some("null"), Some("")];
    let ids = [None, Some("7"), Some("07"), Some("\"7\""), Some("null"), Some("")];
    for (kind, id) in kinds.into_iter().flat_map(|kind| ids.map(|id| (kind, id))) {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let (target_type, target_id) = (owned(kind), owned(id));
        let is_first = kind == Some("key") && id == Some("7");
        let what = if is_first { "nothing else".to_owned() } else { format!("{kind:?} {id:?}") };
        tell(&Record { target_type, target_id, ..record() }, what);
    }
    tell(&record(), "nothing else".to_owned());
}
