//! What edges do: requests, shared questions, the keeper.

use latchkey_contract::Timestamp;
use latchkey_contract::lease::{MemberId, MemberResult, Revision};
use rand::RngExt;

use super::edge::{Edge, Flight};
use super::events::{Event, Letter, MS, SECOND, Says};
use super::world::World;
use crate::keeper::Next;
use crate::shard::ReadView;
use crate::verdict::{Question, Reply};

/// How long an edge waits for an answer.
const PATIENCE: u64 = 4 * SECOND;
/// How often it asks again for one request.
const MAX_AGAIN: u8 = 3;

impl World {
    /// Whether the edge is stopped; then `event` happens when it goes on.
    fn defer(&mut self, edge: usize, event: Event) -> Option<Event> {
        let until = self.edges[edge].stopped_until;
        if until <= self.now {
            return Some(event);
        }
        self.at(until, event);
        None
    }

    fn wall(&self, edge: usize) -> Timestamp {
        let millis = i64::try_from(self.now / MS).unwrap();
        Timestamp(millis + self.edges[edge].wall_step)
    }

    pub(super) fn restart_edge(&mut self, at: usize) {
        let (bounds, rules) = (self.bounds, self.rules);
        let old = &self.edges[at];
        let mut edge = Edge::new(old.clock, &bounds, rules);
        edge.life = old.life + 1;
        edge.cut_off = old.cut_off;
        self.edges[at] = edge;
        self.oracle.crashes += 1;
        let soon = self.now + 10 * MS;
        self.edges[at].timer = soon;
        self.at(soon, Event::KeeperTimer(at));
    }

    /// The keeper's timer rings, unless it was set anew since.
    pub(super) fn ring(&mut self, at: usize) {
        if self.edges[at].stopped_until > self.now {
            let until = self.edges[at].stopped_until;
            self.edges[at].timer = until;
            self.at(until, Event::KeeperTimer(at));
        } else if self.edges[at].timer <= self.now {
            self.keep(at);
        }
    }

    fn keep(&mut self, at: usize) {
        loop {
            let now = self.edges[at].clock.read(self.now);
            let id = self.next_id;
            let fresh = || MemberId(u128::from(id).to_be_bytes());
            match self.edges[at].keeper.next(now, fresh) {
                Next::Send(ask) => {
                    self.next_id += 1;
                    let letter = Letter::Ask(ask);
                    self.post(at, &Event::ToService { edge: at, letter });
                }
                Next::Wait(until) => {
                    let when = self.edges[at].clock.when(until);
                    if when != self.edges[at].timer {
                        self.edges[at].timer = when;
                        self.at(when, Event::KeeperTimer(at));
                    }
                    return;
                }
            }
        }
    }

    pub(super) fn request(&mut self, at: usize, credential: u32) {
        let began = self.now;
        if self.edges[at].stopped_until > self.now {
            // Its socket takes the request; it begins to decide when it goes on.
            self.at(self.edges[at].stopped_until, Event::Request { edge: at, credential });
            return;
        }
        self.oracle.requests += 1;
        let edge = &self.edges[at];
        let view = edge.cache.view(edge.clock.read(self.now));
        if self.rng.random_bool(0.03) {
            // Stopped between the clock and the entry, for longer than anything lasts.
            let until = self.now + self.rng.random_range(0..5 * SECOND);
            let life = edge.life;
            self.at(until, Event::Finish { edge: at, life, credential, view, began });
        } else {
            self.decide(at, credential, view, began);
        }
    }

    pub(super) fn finish(
        &mut self,
        at: usize,
        life: u32,
        credential: u32,
        view: ReadView,
        began: u64,
    ) {
        if self.edges[at].life == life {
            self.decide(at, credential, view, began);
        }
    }

    fn decide(&mut self, at: usize, credential: u32, view: ReadView, began: u64) {
        let wall = self.wall(at);
        match self.edges[at].cache.look_with(&view, &credential, wall, Revision(0)) {
            Some(Says::Valid(stands_for, ..)) => {
                self.oracle.cached += 1;
                self.oracle.accepted(credential, began, "from the cache");
                self.oracle.accepted_of(self.db.owner(credential), began, "from the cache");
                if stands_for != credential {
                    self.oracle.fault(format!("{credential} stands for {stands_for}"));
                }
            }
            Some(Says::Revoked) => self.oracle.refused(credential, self.now),
            Some(Says::Disabled(_)) => {
                let owner = self.db.owner(credential);
                self.oracle.refused_as_disabled(owner, began, "from the cache");
            }
            Some(Says::Unknown) => {
                if self.db.exists(credential) {
                    // Made after somebody asked for it: random credentials are not asked for before.
                    self.oracle.unavailable += 1;
                }
            }
            None => self.ask(at, credential, 0),
        }
    }

    fn ask(&mut self, at: usize, credential: u32, again: u8) {
        if !self.db.exists(credential) && self.rng.random_bool(0.7) {
            // Nobody guesses the credentials that are made later.
            return;
        }
        if let Some(flight) = self.edges[at].flights.get_mut(&credential)
            && again == 0
        {
            flight.waiting += 1;
            return;
        }
        let now = self.edges[at].clock.read(self.now);
        let Some(question) = self.edges[at].cache.ask(now) else {
            self.oracle.unavailable += 1;
            return;
        };
        self.oracle.asked += 1;
        let waiting = self.edges[at].flights.remove(&credential).map_or(1, |f| f.waiting);
        self.edges[at].flights.insert(credential, Flight { question, waiting, again });
        let letter = Letter::AskVerify { question, credential };
        self.post(at, &Event::ToService { edge: at, letter });
        let nonce = question.nonce;
        self.at(self.now + PATIENCE, Event::Timeout { edge: at, credential, nonce });
    }

    pub(super) fn timeout(&mut self, at: usize, credential: u32, nonce: u64) {
        let flights = &mut self.edges[at].flights;
        if flights.get(&credential).is_some_and(|flight| flight.question.nonce == nonce) {
            flights.remove(&credential);
            self.oracle.unavailable += 1;
        }
    }

    pub(super) fn receive(&mut self, at: usize, letter: Letter) {
        let event = Event::ToEdge { edge: at, letter };
        let Some(Event::ToEdge { letter, .. }) = self.defer(at, event) else { return };
        let edge = &mut self.edges[at];
        let now = edge.clock.read(self.now);
        match letter {
            Letter::Joined(nonce, answer) => edge.keeper.joined(&edge.cache, nonce, answer),
            Letter::Renewed(nonce, answer) => {
                edge.keeper.renewed(&edge.cache, nonce, answer, now);
            }
            Letter::Invalidate(message) => {
                if let Some(acknowledge) = edge.keeper.invalidate(&edge.cache, &message) {
                    self.post(at, &Event::ToRevokers(acknowledge));
                }
            }
            Letter::Verified { question, credential, answer } => {
                self.verified(at, question, credential, answer);
            }
            Letter::Ask(_) | Letter::AskVerify { .. } => {}
        }
        self.keep(at);
    }

    fn verified(
        &mut self,
        at: usize,
        question: Question,
        credential: u32,
        answer: MemberResult<Reply<Says>>,
    ) {
        let edge = &mut self.edges[at];
        let Some(flight) = edge.flights.get(&credential) else { return };
        if (flight.question.nonce, flight.question.member) != (question.nonce, question.member) {
            return;
        }
        let (question, waiting) = (flight.question, flight.waiting);
        let MemberResult::Member(reply) = answer else {
            edge.flights.remove(&credential);
            edge.keeper.expelled(&edge.cache, question.member);
            self.oracle.unavailable += waiting;
            return;
        };
        edge.keeper.other_epoch(&edge.cache, reply.read_at.epoch);
        let life = edge.life;
        for waiter in 1..waiting {
            // Some of those who wait are slow to wake up.
            let slow = if self.rng.random_bool(0.2) { SECOND } else { MS };
            let when = self.now + self.rng.random_range(0..slow) * waiter as u64;
            let reply = reply.clone();
            self.at(when, Event::Judge { edge: at, life, credential, question, reply });
        }
        self.judge(at, life, credential, question, reply);
    }

    pub(super) fn judge(
        &mut self,
        at: usize,
        life: u32,
        credential: u32,
        question: Question,
        reply: Reply<Says>,
    ) {
        if self.edges[at].life != life {
            return;
        }
        let wall = self.wall(at);
        let edge = &mut self.edges[at];
        let now = edge.clock.read(self.now);
        let mine = |flight: &Flight| flight.question == question;
        let again = edge.flights.get(&credential).filter(|f| mine(f)).map(|f| f.again);
        let verdict = reply.verdict;
        if edge.cache.take(&question, credential, reply, now, wall).is_err() {
            self.oracle.discarded += 1;
            if let Some(again) = again.filter(|again| *again < MAX_AGAIN) {
                return self.ask(at, credential, again + 1);
            }
            self.oracle.unavailable += 1;
        } else {
            self.decided(credential, verdict);
        }
        if again.is_some() {
            self.edges[at].flights.remove(&credential);
        }
    }

    /// A reply was taken.
    fn decided(&mut self, credential: u32, verdict: Says) {
        let owner = self.db.owner(credential);
        match verdict {
            Says::Valid(..) => {
                self.oracle.accepted(credential, self.now, "by a reply");
                self.oracle.accepted_of(owner, self.now, "by a reply");
            }
            Says::Revoked => self.oracle.refused(credential, self.now),
            Says::Disabled(_) => self.oracle.refused_as_disabled(owner, self.now, "by a reply"),
            // Asked for before it was made: only this simulation guesses what does not exist yet.
            Says::Unknown => {}
        }
    }
}
