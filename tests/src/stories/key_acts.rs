//! What a client of a story can do to keys: switch them off and on, give and take a scope, replace them, end them all, have
//! one end itself. And an operator who holds the user to a ceiling.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use super::front::{Ask, Reply};
use super::history::{Credential, Grace, Key, Span, Use, What};
use super::{Client, Story, Way};
use crate::nemesis::Said;

/// The scope that is given and taken, and asked for by [`TRY`].
const SCOPE: &str = "latchkey:keys:read";
/// A route for keys that hold it.
const TRY: &str = "/keys?limit=1";
/// A ceiling below it.
const LOW: &str = "orders:read";
/// Seconds that a replaced key lives on, or none: far longer than clocks are wrong.
const LONG: u64 = 30 * 86_400;
/// Of so many keys that were got last one is changed.
const RECENT: usize = 4;
/// How often the key is tried after a change.
const TRIES: usize = 3;

/// Switches a key off, on, or both.
pub(super) async fn switch(client: &mut Client) {
    let turns: &[bool] = if client.one_in(2) { &[false, true] } else { &[true, false] };
    let Some(key) = client.recent_key() else { return };
    for enabled in turns {
        let Some(by) = client.token().await else { return };
        let (way, story) = (client.way(), Arc::clone(&client.story));
        let (id, token) = (story.key_id(key), story.token(by));
        let what = if *enabled { "enable" } else { "disable" };
        let ask = Ask::post(&format!("/keys/{id}/{what}")).bearer(&token);
        story.change(What::Enabled(key, *enabled), story.manage(&way, &ask, by)).await;
        client.try_key(key).await;
    }
}

/// Gives a key the scope, takes it away, or both.
pub(super) async fn scope(client: &mut Client) {
    let turns: &[bool] = if client.one_in(3) { &[true] } else { &[true, false] };
    let Some(key) = client.recent_key() else { return };
    for granted in turns {
        let Some(by) = client.token().await else { return };
        let (way, story) = (client.way(), Arc::clone(&client.story));
        let token = story.token(by);
        let body = json!({"scopes": if *granted { vec![SCOPE] } else { vec![] }});
        let ask = Ask::patch(format!("/keys/{}", story.key_id(key))).bearer(&token).with(&body);
        story.change(What::Scope(key, *granted), story.manage(&way, &ask, by)).await;
        client.try_key(key).await;
    }
}

/// Replaces a key; two do at the same time, or one ends the whole lineage meanwhile.
pub(super) async fn rotate(client: &mut Client) {
    let Some(key) = client.recent_key() else { return };
    let (Some(by), Some(other)) = (client.token().await, client.token().await) else { return };
    let grace = if client.one_in(2) { Grace::None } else { Grace::Long };
    let (way, beside, story) = (client.way(), client.way(), Arc::clone(&client.story));
    match client.dice.below(4) {
        0 => {
            let end = story.end_lineage(&beside, key, other);
            tokio::join!(story.rotate(&way, key, grace, by), end);
        }
        1 => {
            let second = story.rotate(&beside, key, grace, other);
            tokio::join!(story.rotate(&way, key, grace, by), second);
        }
        _ => story.rotate(&way, key, grace, by).await,
    }
    client.try_key(key).await;
    client.look().await;
}

/// Ends every key of a lineage.
pub(super) async fn end_lineage(client: &mut Client) {
    let Some(key) = client.recent_key() else { return };
    let Some(by) = client.token().await else { return };
    let (way, story) = (client.way(), Arc::clone(&client.story));
    story.end_lineage(&way, key, by).await;
    client.look().await;
}

/// Has a key end itself.
pub(super) async fn end_itself(client: &mut Client) {
    let Some(key) = client.recent_key() else { return };
    let (way, story) = (client.way(), Arc::clone(&client.story));
    let text = story.history().keys[key].text.clone();
    let ask = Ask::delete("/keys/self".to_owned()).key(&text);
    let asking = async {
        let begin = Instant::now();
        let reply = story.send(&way, &ask).await;
        let of = Credential::Key(key);
        story.note(way.edge, of, Span::since(begin), reply.as_ref());
        reply.is_some_and(|reply| reply.status == 200)
    };
    story.change(What::Revoke(key), asking).await;
    client.try_key(key).await;
}

/// Holds the user to a ceiling, and takes it away.
pub(super) async fn hold(client: &mut Client) {
    for held in [true, false] {
        let (way, story) = (client.way(), Arc::clone(&client.story));
        story.set_held(&way, held).await;
        client.look().await;
    }
}

impl Client {
    fn one_in(&mut self, parts: usize) -> bool {
        self.dice.below(parts) == 0
    }

    /// One of the keys that were got last; mostly one that lives and is the newest of its lineage.
    fn recent_key(&mut self) -> Option<usize> {
        let is_any = self.one_in(5);
        let keys: Vec<usize> = {
            let history = self.story.history();
            let all = (0..history.keys.len()).rev();
            all.filter(|key| is_any || !history.is_over_or_replaced(*key)).take(RECENT).collect()
        };
        (!keys.is_empty()).then(|| keys[self.dice.below(keys.len())])
    }

    /// Tries a key on some edges.
    async fn try_key(&mut self, key: usize) {
        for _ in 0..TRIES {
            let way = self.patient();
            self.story.try_out(&way, Credential::Key(key)).await;
        }
    }
}

impl Story {
    fn key_id(&self, key: usize) -> i64 {
        self.history().keys[key].id
    }

    /// Sends a command on a key that a token gives. It is refused where the user's ceiling is too low for it.
    async fn manage(&self, way: &Way, ask: &Ask<'_>, by: usize) -> bool {
        let begin = Instant::now();
        let reply = self.send(way, ask).await;
        let span = Span::since(begin);
        let is_beyond = |reply: &Reply| reply.status == 403 && reply.code() == "insufficient-scope";
        if reply.as_ref().is_some_and(is_beyond) && self.history().held(&span).contains(&true) {
            return false;
        }
        self.note(way.edge, Credential::Token(by), span, reply.as_ref());
        reply.is_some_and(|reply| reply.status == 200)
    }

    async fn rotate(&self, way: &Way, key: usize, grace: Grace, by: usize) {
        let (id, token) = (self.key_id(key), self.token(by));
        let seconds = if grace == Grace::None { 0 } else { LONG };
        let body = json!({"grace_seconds": seconds});
        let ask = Ask::post(&format!("/keys/{id}/rotate")).bearer(&token).with(&body);
        let asking = async {
            let begin = Instant::now();
            let reply = self.send(way, &ask).await;
            let made = Span::since(begin);
            self.note(way.edge, Credential::Token(by), made, reply.as_ref());
            let Some(reply) = reply.filter(|reply| reply.status == 201) else { return false };
            let (id, text) = self.made(&reply.body);
            let (request, replaces) = (way.name.clone(), Some(key));
            let key = Key { text, id, by, replaces, request, made, not_before: None };
            self.history().keys.push(key);
            true
        };
        self.change(What::Rotate(key, grace), asking).await;
    }

    /// The id and the text of a key in an answer.
    pub(super) fn made(&self, body: &Value) -> (i64, String) {
        let (id, text) = (body["id"].as_i64(), body["key"].as_str());
        match (id, text) {
            (Some(id), Some(text)) => (id, text.to_owned()),
            _ => panic!("story {}: no key in {body}", self.number),
        }
    }

    async fn end_lineage(&self, way: &Way, key: usize, by: usize) {
        let first = self.history().lineage(key);
        let (id, token) = (self.key_id(first), self.token(by));
        let body = json!({"filter": {"lineage": id}});
        let ask = Ask::post("/keys/revoke").bearer(&token).with(&body);
        self.change(What::EndLineage(first), self.manage(way, &ask, by)).await;
    }

    /// Asks as the operator; whether it was answered.
    pub(super) async fn set_held(&self, way: &Way, held: bool) -> bool {
        let asking = async {
            let ceiling = held.then_some(LOW);
            let asking = self.front.set_ceiling(way, &self.username, ceiling);
            tokio::time::timeout(way.patience, asking).await.unwrap_or(false)
        };
        self.change(What::Held(held), asking).await
    }

    /// Tries whether a key holds the scope, and notes what was said; whether there was an answer to go by.
    pub(super) async fn try_scope(&self, way: &Way, key: usize) -> bool {
        let text = self.history().keys[key].text.clone();
        let begin = Instant::now();
        let reply = self.send(way, &Ask::get(TRY).key(&text)).await;
        let (said, scope) = match reply.as_ref().map(|reply| (reply.status, reply.code())) {
            Some((200, _)) => (Said::Accepted, Some(true)),
            Some((403, "insufficient-scope" | "users-only")) => (Said::Accepted, Some(false)),
            other => (Said::of(other.map(|(status, _)| status)), None),
        };
        let (of, span) = (Credential::Key(key), Span::since(begin));
        self.history().uses.push(Use { of, edge: way.edge, span, said, scope });
        said != Said::Nothing
    }
}
