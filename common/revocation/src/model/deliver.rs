//! What comes of a message.

use latchkey_contract::lease::{Joined, MemberResult};

use super::scenario::{ASKED, Model};
use super::world::{Message, Small, Violation, WALL, World};
use crate::authority::{self, MemberState};
use crate::rules::Mutant;
use crate::verdict::{Question, Reply};

impl Model {
    pub(super) fn deliver(
        &self,
        next: &mut World,
        message: &Message,
        stays: bool,
    ) -> Result<(), Violation> {
        let now = next.now;
        match message.clone() {
            Message::AskJoin { edge, nonce, member } => {
                if !next.db.members.iter().any(|(id, _)| *id == member) {
                    next.db().members.push((member, MemberState::Member));
                }
                let answer = Joined { epoch: next.db.epoch, revision: next.db.revision };
                next.send(Message::Joined { edge, nonce, answer });
            }
            Message::Joined { edge, nonce, answer } => {
                let edge = next.edge(edge);
                edge.keeper.joined(&edge.cache, nonce, answer);
            }
            Message::AskRenew { edge, nonce, member, since } => {
                let standby = next.standby.as_deref();
                let lags = self.rules.breaks(Mutant::RenewFromStandby);
                let db = standby.filter(|_| lags).unwrap_or(&next.db);
                let snapshot = db.snapshot(member);
                let answer = authority::renew_by(self.rules, &snapshot, since, db.changes(since));
                next.send(if self.rules.breaks(Mutant::RenewInTwoStatements) {
                    Message::HalfRenewed { edge, nonce, half: answer }
                } else {
                    Message::Renewed { edge, nonce, answer }
                });
            }
            Message::HalfRenewed { edge, nonce, half: mut answer } => {
                if let MemberResult::Member(renewed) = &mut answer {
                    renewed.revision = next.db.revision;
                }
                next.send(Message::Renewed { edge, nonce, answer });
            }
            Message::Renewed { edge, nonce, answer } => {
                let edge = next.edge(edge);
                edge.keeper.renewed(&edge.cache, nonce, answer, now);
            }
            Message::AskVerify { edge, question, credential } => {
                let answer = next.db.verify(self.rules, question.member, credential);
                next.send(Message::Verified { edge, question, credential, answer });
            }
            Message::Verified { edge, question, credential: _, answer } => {
                return self.verified(next, edge, question, answer, stays);
            }
            Message::Invalidate { edge: at, message } => {
                let edge = next.edge(at);
                let acknowledgement = edge.keeper.invalidate(&edge.cache, &message);
                if acknowledgement.is_some() && self.rules.breaks(Mutant::AcknowledgeBeforeApplying)
                {
                    edge.unapplied = Some(message);
                }
                if let Some(acknowledgement) = acknowledgement {
                    next.send(Message::Acknowledge(acknowledgement));
                }
            }
            Message::Acknowledge(a) => {
                for at in 0..next.revokers.len() {
                    next.revoker(at).core.acknowledged(a.member, a.epoch, a.revision);
                }
            }
        }
        Ok(())
    }

    fn verified(
        &self,
        next: &mut World,
        at: u8,
        question: Question,
        answer: MemberResult<Reply<Small>>,
        stays: bool,
    ) -> Result<(), Violation> {
        let (now, returned) = (next.now, next.returned);
        let edge = next.edge(at);
        let Some(place) = edge.asked.iter().position(|(asked, _)| {
            (asked.member, asked.nonce) == (question.member, question.nonce)
        }) else {
            return Ok(());
        };
        // The stamp is the edge's own; the message brings back only the nonce.
        let (question, credential) = edge.asked[place];
        if !stays {
            edge.asked.remove(place);
        }
        let MemberResult::Member(reply) = answer else {
            edge.keeper.expelled(&edge.cache, question.member);
            return Ok(());
        };
        let epoch = reply.read_at.epoch;
        let says_valid = matches!(reply.verdict, Small::Valid(_));
        let waiter = stays && self.rules.breaks(Mutant::WaiterWithoutChecks);
        let accepted = if waiter {
            says_valid
        } else {
            edge.cache.take(&question, credential, reply, now, WALL).is_ok() && says_valid
        };
        edge.keeper.other_epoch(&edge.cache, epoch);
        let returned = ASKED.iter().zip(returned).any(|(it, over)| *it == credential && over);
        if accepted && returned { Err(Violation::ByReply) } else { Ok(()) }
    }
}
