//! How a simulation goes: each event to whomever it concerns, the faults, and what has to work again at the end.

use std::cmp::Reverse;

use latchkey_contract::lease::Revision;
use rand::RngExt;

use super::events::{Event, SECOND};
use super::world::{EDGES, QUIET, TROUBLE, World};

impl World {
    pub(super) fn run(&mut self) {
        while let Some(Reverse((at, number))) = self.queue.pop() {
            self.now = self.now.max(at);
            let Some(event) = self.events.remove(&number) else { continue };
            if self.now > TROUBLE + QUIET {
                break;
            }
            self.happen(event);
        }
        self.check_recovery();
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::KeeperTimer(edge) => self.ring(edge),
            Event::Request { edge, credential } => self.request(edge, credential),
            Event::Finish { edge, life, credential, view, began } => {
                self.finish(edge, life, credential, view, began);
            }
            Event::Judge { edge, life, credential, question, reply } => {
                self.judge(edge, life, credential, question, reply);
            }
            Event::Timeout { edge, credential, nonce } => self.timeout(edge, credential, nonce),
            Event::ToService { edge, letter } => self.serve(edge, &letter),
            Event::ToEdge { edge, letter } => self.receive(edge, letter),
            Event::ToRevokers(a) => self.acknowledge(a),
            Event::Revoke(tag) => self.revoke(tag),
            Event::Enable(owner, enabled) => self.enable(owner, enabled),
            Event::RevokerTimer(id) => self.drive(id),
            Event::CleanUp(id) => self.clean_up(id),
            Event::Sweep(service) => self.sweep(service),
            Event::Fault => self.fault(),
            Event::Heal(edge) => self.edges[edge].cut_off = false,
            Event::Issue => self.db.issue(),
        }
    }

    fn fault(&mut self) {
        let edge = self.rng.random_range(0..EDGES);
        let long = self.now + self.rng.random_range(0..6 * SECOND);
        match self.rng.random_range(0..8) {
            0 | 1 => self.edges[edge].stopped_until = long.min(TROUBLE),
            2 | 3 => {
                self.edges[edge].cut_off = true;
                self.at(long.min(TROUBLE), Event::Heal(edge));
            }
            4 => self.restart_edge(edge),
            5 => self.crash_service(),
            6 => self.edges[edge].wall_step = self.rng.random_range(-3_600_000..3_600_000),
            _ => {
                if self.rng.random_bool(0.3) {
                    self.db.fail_over();
                } else {
                    self.db.pruned = self.db.revision;
                }
            }
        }
    }

    /// After the quiet time everything works again: members, leases, answers.
    fn check_recovery(&mut self) {
        if !self.oracle.faults.is_empty() {
            return;
        }
        for at in 0..EDGES {
            let (now, edge) = (self.edges[at].clock.read(self.now), &self.edges[at]);
            if !edge.cache.is_live(now) {
                self.oracle.fault(format!("edge {at} has no lease after the quiet time"));
            }
            let behind = edge.keeper.revision().unwrap_or_default();
            if behind < Revision(self.db.revision.0 - 30) {
                self.oracle.fault(format!("edge {at} has not caught up"));
            }
        }
    }
}
