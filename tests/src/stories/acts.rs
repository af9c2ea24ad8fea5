//! What a client of a story can do: one function each, and a row of [`ACTS`].

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use super::front::{Ask, Reply};
use super::history::{Credential, Entered, Key, Login, Span, Token, Use, What};
use super::key_acts;
use super::{Client, Story, Way};
use crate::nemesis::Said;

/// One thing that a client can do.
pub struct Act {
    /// How often it is done, beside the others.
    pub weight: usize,
    /// Does it.
    pub run: for<'a> fn(&'a mut Client) -> Doing<'a>,
}

type Doing<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Everything that a client can do.
pub const ACTS: &[Act] = &[
    Act { weight: 8, run: |client| Box::pin(log_in(client)) },
    Act { weight: 6, run: |client| Box::pin(issue(client)) },
    Act { weight: 8, run: |client| Box::pin(use_one(client)) },
    Act { weight: 4, run: |client| Box::pin(log_out(client)) },
    Act { weight: 3, run: |client| Box::pin(log_out_during_issue(client)) },
    Act { weight: 6, run: |client| Box::pin(log_out_all(client)) },
    Act { weight: 3, run: |client| Box::pin(revoke(client)) },
    Act { weight: 5, run: |client| Box::pin(change_password(client)) },
    Act { weight: 6, run: |client| Box::pin(out_and_in(client)) },
    Act { weight: 6, run: |client| Box::pin(in_and_out(client)) },
    Act { weight: 10, run: |client| Box::pin(key_acts::switch(client)) },
    Act { weight: 10, run: |client| Box::pin(key_acts::scope(client)) },
    Act { weight: 12, run: |client| Box::pin(key_acts::rotate(client)) },
    Act { weight: 3, run: |client| Box::pin(key_acts::end_lineage(client)) },
    Act { weight: 3, run: |client| Box::pin(key_acts::end_itself(client)) },
    Act { weight: 4, run: |client| Box::pin(key_acts::hold(client)) },
];

/// Of so many tokens and keys that were got last, so many are looked at after a change.
const RECENT: usize = 3;
const LOOKED_AT: usize = 3;
/// How often one looks after a change of many, at most, with [`BETWEEN`] between two looks.
const LOOKS: usize = 12;
const BETWEEN: Duration = Duration::from_millis(100);
/// Clients who log in with the old password while it is changed, and how often each does.
const OLD_LOGINS: usize = 4;
const TIMES: usize = 2;

async fn log_in(client: &mut Client) {
    let (password, way) = (client.password(), client.way());
    client.story.enter(&way, password).await;
}

async fn issue(client: &mut Client) {
    let Some(by) = client.token().await else { return };
    let way = client.way();
    client.story.issue(&way, by).await;
}

async fn use_one(client: &mut Client) {
    let credentials = client.story.history().newest(usize::MAX);
    if credentials.is_empty() {
        return;
    }
    let credential = credentials[client.dice.below(credentials.len())];
    let way = client.patient();
    client.story.try_out(&way, credential).await;
}

async fn log_out(client: &mut Client) {
    let Some(token) = client.token().await else { return };
    let way = client.way();
    client.story.log_out(&way, token).await;
    client.look().await;
}

/// What is made by a session that ends meanwhile.
async fn log_out_during_issue(client: &mut Client) {
    let Some(token) = client.token().await else { return };
    let ways = [client.patient(), client.patient()];
    let out = client.patient();
    let story = Arc::clone(&client.story);
    let issues = join_all(ways.iter().map(|way| story.issue(way, token)));
    tokio::join!(issues, story.log_out(&out, token));
    client.look().await;
}

async fn log_out_all(client: &mut Client) {
    let Some(by) = client.token().await else { return };
    let (way, story) = (client.way(), Arc::clone(&client.story));
    let token = story.token(by);
    let ask = Ask::post("/auth/logout-all").bearer(&token);
    story.change(What::LogOutAll, story.command(&way, &ask, by)).await;
    // Whoever comes now is not meant.
    let (password, ways) = (client.password(), [client.patient(), client.patient()]);
    join_all(ways.iter().map(|way| story.enter(way, password))).await;
    client.watch().await;
}

async fn revoke(client: &mut Client) {
    let keys = client.story.history().keys.len();
    let Some(by) = client.token().await.filter(|_| keys > 0) else { return };
    let (key, way, story) = (client.dice.below(keys), client.way(), Arc::clone(&client.story));
    let id = story.history().keys[key].id;
    let token = story.token(by);
    let ask = Ask::delete(format!("/keys/{id}")).bearer(&token);
    story.change(What::Revoke(key), story.command(&way, &ask, by)).await;
    client.look().await;
}

/// While others log in with the old one.
async fn change_password(client: &mut Client) {
    let Some(by) = client.token().await else { return };
    let story = Arc::clone(&client.story);
    let Some(_held) = Held::take(&story.changing_password) else { return };
    let old = client.password();
    let new = usize::try_from(story.passwords.fetch_add(1, Ordering::SeqCst)).expect("small");
    let (way, token) = (client.way(), story.token(by));
    let body =
        json!({"current_password": story.password(old), "new_password": story.password(new)});
    let ask = Ask::post("/auth/password").bearer(&token).with(&body);
    let logins: Vec<Way> = (0..OLD_LOGINS * TIMES).map(|_| client.patient()).collect();
    let logins = join_all(logins.chunks(TIMES).map(async |ways| {
        for way in ways {
            story.enter(way, old).await;
        }
    }));
    let change = story.change(What::Password { by, new }, story.command(&way, &ask, by));
    tokio::join!(change, logins);
    client.look().await;
}

async fn out_and_in(client: &mut Client) {
    set_activity(client, &[false, true]).await;
}

async fn in_and_out(client: &mut Client) {
    set_activity(client, &[true, false]).await;
}

/// One operator's commands.
async fn set_activity(client: &mut Client, commands: &[bool]) {
    let story = Arc::clone(&client.story);
    let Some(_held) = Held::take(&story.changing_activity) else { return };
    for active in commands {
        let way = client.way();
        let last = story.set_active(&way, *active);
        let login = client.way();
        let password = client.password();
        tokio::join!(last, story.enter(&login, password));
    }
    client.watch().await;
    log_in(client).await;
}

impl Client {
    /// A password that may be the present one.
    fn password(&mut self) -> usize {
        let history = self.story.history();
        let set = |what: &What| match what {
            What::Password { new, .. } => Some(*new),
            _ => None,
        };
        let passwords = history.possible(0, set, &Span::since(Instant::now()));
        drop(history);
        passwords[self.dice.below(passwords.len())]
    }

    /// A token that is not known to have ended, of a new session if need be.
    pub(super) async fn token(&mut self) -> Option<usize> {
        for _ in 0..3 {
            let story = Arc::clone(&self.story);
            let good: Vec<usize> = {
                let (history, now) = (story.history(), Instant::now());
                let all = 0..history.tokens.len();
                all.rev()
                    .filter(|token| history.end_of(*token, now).is_none())
                    .take(RECENT)
                    .collect()
            };
            if !good.is_empty() {
                return Some(good[self.dice.below(good.len())]);
            }
            log_in(self).await;
        }
        None
    }

    /// Looks for a while: what comes late is seen before others come.
    async fn watch(&mut self) {
        for _ in 0..=self.dice.below(LOOKS) {
            tokio::time::sleep(BETWEEN).await;
            self.look().await;
        }
    }

    /// Looks at some of the newest credentials, each on any edge.
    pub(super) async fn look(&mut self) {
        let mut credentials = self.story.history().newest(RECENT);
        self.dice.shuffle(&mut credentials);
        credentials.truncate(LOOKED_AT);
        let ways: Vec<(Way, Credential)> =
            credentials.iter().map(|credential| (self.patient(), *credential)).collect();
        let story = &self.story;
        join_all(ways.iter().map(|(way, credential)| story.try_out(way, *credential))).await;
    }
}

impl Story {
    pub(super) fn token(&self, number: usize) -> String {
        self.history().tokens[number].text.clone()
    }

    /// Logs in.
    async fn enter(&self, way: &Way, password: usize) {
        let text = self.password(password);
        let body = json!({"username": self.username, "password": text});
        let begin = Instant::now();
        let Some(reply) = self.send(way, &Ask::post("/auth/login").with(&body)).await else {
            return;
        };
        let (made, mut history) = (Span::since(begin), self.history());
        let entered = match (reply.status, reply.code()) {
            (200, _) => Entered::In,
            (401, "wrong-credentials") => Entered::WrongPassword,
            (400, "inactive-user") => Entered::Inactive,
            (409 | 429 | 503, _) => return,
            _ => return history.wrong.push(format!("{} to a login", reply.status)),
        };
        history.logins.push(Login { password, span: made, entered });
        if let (Entered::In, Some(token)) = (entered, reply.body["access_token"].as_str()) {
            history.tokens.push(Token { text: token.to_owned(), password, made });
        }
    }

    /// Makes a key.
    async fn issue(&self, way: &Way, by: usize) {
        let (token, body) = (self.token(by), json!({"name": way.name}));
        let ask = Ask::post("/keys/create").bearer(&token).with(&body);
        let begin = Instant::now();
        let reply = self.send(way, &ask).await;
        let made = Span::since(begin);
        self.note(way.edge, Credential::Token(by), made, reply.as_ref());
        let Some(reply) = reply.filter(|reply| reply.status == 201) else { return };
        let (id, text) = self.made(&reply.body);
        let request = way.name.clone();
        let key = Key { text, id, by, replaces: None, request, made, not_before: None };
        self.history().keys.push(key);
    }

    async fn log_out(&self, way: &Way, token: usize) {
        let text = self.token(token);
        let ask = Ask::post("/auth/logout").bearer(&text);
        self.change(What::LogOut(token), self.command(way, &ask, token)).await;
    }

    /// Asks as the operator; whether it was answered.
    pub(super) async fn set_active(&self, way: &Way, active: bool) -> bool {
        let asking = async {
            let asking = self.front.set_active(way, &self.username, active);
            tokio::time::timeout(way.patience, asking).await.unwrap_or(false)
        };
        self.change(What::Active(active), asking).await
    }

    /// Sends a command that a token gives, and notes what was said to the token; whether it was done.
    async fn command(&self, way: &Way, ask: &Ask<'_>, by: usize) -> bool {
        let begin = Instant::now();
        let reply = self.send(way, ask).await;
        self.note(way.edge, Credential::Token(by), Span::since(begin), reply.as_ref());
        reply.is_some_and(|reply| reply.status == 200)
    }

    /// Uses a credential, and notes what was said; whether there was an answer to go by. Every other time a key is used
    /// where it has to hold a scope.
    pub(super) async fn try_out(&self, way: &Way, credential: Credential) -> bool {
        let is_odd = self.history().uses.len() % 2 == 1;
        if let (Credential::Key(number), true) = (credential, is_odd) {
            return self.try_scope(way, number).await;
        }
        let (path, text) = {
            let history = self.history();
            match credential {
                Credential::Token(number) => {
                    ("/protected/user", history.tokens[number].text.clone())
                }
                Credential::Key(number) => {
                    ("/protected/service", history.keys[number].text.clone())
                }
            }
        };
        let ask = match credential {
            Credential::Token(_) => Ask::get(path).bearer(&text),
            Credential::Key(_) => Ask::get(path).key(&text),
        };
        let begin = Instant::now();
        let reply = self.send(way, &ask).await;
        self.note(way.edge, credential, Span::since(begin), reply.as_ref())
    }

    /// Notes what was said to a credential: a wrong password says nothing about it.
    pub(super) fn note(
        &self,
        edge: usize,
        of: Credential,
        span: Span,
        reply: Option<&Reply>,
    ) -> bool {
        let said = match reply.map(|reply| (reply.status, reply.code())) {
            Some((200 | 201, _)) => Said::Accepted,
            Some((401, "unauthenticated")) => Said::Refused,
            Some((401, "wrong-credentials") | (404 | 409, _)) => Said::Nothing,
            other => Said::of(other.map(|(status, _)| status)),
        };
        self.history().uses.push(Use { of, edge, span, said, scope: None });
        said != Said::Nothing
    }
}

/// Held by the one client that changes something.
struct Held<'a>(&'a AtomicBool);

impl<'a> Held<'a> {
    fn take(held: &'a AtomicBool) -> Option<Self> {
        (!held.swap(true, Ordering::SeqCst)).then_some(Self(held))
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}
