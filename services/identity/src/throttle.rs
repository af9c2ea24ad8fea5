//! Failed tries at a password slow the next ones, whether or not somebody has the name.
//!
//! A try is taken out of a budget before the password is looked at, so that tries at the same time count
//! like tries one after the other. There are three kinds of budget:
//!
//! - the strangers' at a name: whoever has not logged in to that account before shares it;
//! - that of a client which has: nobody who comes from elsewhere can spend it, so that nobody can lock the
//!   owner out. A client is a network, as the edge knows it;
//! - that of a session, for the current password that a change of password asks for.
//!
//! Sessions that are open are not touched: nobody is locked out of what they have open. No answer tells a
//! name that somebody has from one that nobody has: both take the same statements.

use std::net::IpAddr;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use latchkey_audit::{Event, Target};
use latchkey_bus::Context;
use latchkey_contract::{CredentialHash, Failure, Mark, Refusal, SessionId, Timestamp, UserId};
use sha2::Sha256;

use crate::store::client as clients;
use crate::store::throttle::{self as rows, End, FREE};
use crate::{Identity, rules};

/// When failures are forgotten, in milliseconds.
pub const FORGET_AFTER: i64 = Timestamp::DAY;
/// The same where there are a hundred: until then it is one try a day.
pub const FORGET_BLOCKED_AFTER: i64 = 30 * Timestamp::DAY;
/// When a client that does not log in any more is a stranger again, in milliseconds.
pub const FORGET_CLIENT_AFTER: i64 = 90 * Timestamp::DAY;
/// Clients of one account that are remembered at most.
const MAX_CLIENTS: i64 = 16;
/// A client's login is noted so often, in milliseconds: most logins write nothing of it.
const NOTE_CLIENT_EVERY: i64 = Timestamp::DAY;
/// A try that has not ended after so long, in milliseconds, was made by a process that has gone. It is
/// well above the time for which anybody waits for an answer.
const RESERVATION_LIFE: i64 = 30 * Timestamp::SECOND;
/// Where tries under way take the rest of a budget, how they end is waited for: they may have the right
/// password, and then there is room. The first pause before looking again is so long, in milliseconds,
const FIRST_PAUSE: u64 = 20;
/// each is twice as long as the one before, up to this,
const LAST_PAUSE: u64 = 320;
/// and the last look is so long before nobody waits for the answer any more: there is a hash to be made yet.
const LEFT_FOR_THE_HASH: Duration = Duration::from_secs(1);
/// When it is worth trying again where they have not ended then, or one of them failed just now.
const RETRY_AFTER_MS: u64 = 1_000;
/// The user of a name that nobody has: no id is this one.
const NOBODY: i64 = 0;

/// One try, taken out of its budget until it is told how it ended.
#[must_use = "a try that is not ended counts as a failure"]
pub(crate) struct Reservation<'a> {
    identity: &'a Identity,
    /// The budget, and the round in which the try was taken; nothing where there are no limits.
    held: Option<(CredentialHash, i64)>,
    /// Whose client it is, and when it was last noted.
    client: Option<Client>,
    /// The message that it is a try of, where that says which one it is.
    message: Option<CredentialHash>,
}

struct Client {
    user: i64,
    hash: CredentialHash,
    noted_at: Option<Timestamp>,
}

impl<'a> Reservation<'a> {
    /// Takes a try at the password of a name, which may be `user`'s, out of the budget of the client in
    /// `network`. Where that is not known it is a stranger.
    ///
    /// # Errors
    /// [`Refusal::TooManyRequests`] where there is none left now.
    pub(crate) async fn of_login(
        identity: &'a Identity,
        context: &Context,
        username: &str,
        user: Option<i64>,
        network: Option<IpAddr>,
    ) -> Result<Self, Failure> {
        if !identity.config.rate_limit {
            return Ok(Self { identity, held: None, client: None, message: None });
        }
        let client = match network {
            Some(network) => {
                let user = user.unwrap_or(NOBODY);
                let parts = [&user.to_be_bytes()[..], network.to_string().as_bytes()].concat();
                let hash = keyed(identity, "login client", &parts)?;
                let noted_at = clients::find(&identity.db, user, &hash).await?;
                let forgotten = identity.now().plus(-FORGET_CLIENT_AFTER);
                let noted_at = noted_at.filter(|at| *at >= forgotten);
                Some(Client { user, hash, noted_at })
            }
            None => None,
        };
        let known = client.as_ref().filter(|client| client.noted_at.is_some());
        let budget = known.map_or_else(|| strangers_at(username), |client| client.hash);
        let round = reserve(identity, context, &budget).await?;
        Ok(Self { identity, held: Some((budget, round)), client, message: None })
    }

    /// Takes a try at the current password out of a session's budget.
    ///
    /// # Errors
    /// [`Refusal::TooManyRequests`] where there is none left now.
    pub(crate) async fn of_session(
        identity: &'a Identity,
        context: &Context,
        session: &SessionId,
    ) -> Result<Self, Failure> {
        if !identity.config.rate_limit {
            return Ok(Self { identity, held: None, client: None, message: None });
        }
        let budget = keyed(identity, "session", &session.0)?;
        let round = reserve(identity, context, &budget).await?;
        Ok(Self { identity, held: Some((budget, round)), client: None, message: None })
    }

    /// The same try, of the message with this mark.
    pub(crate) fn of_message(self, mark: Option<Mark>) -> Result<Self, Failure> {
        let hash = |mark: Mark| keyed(self.identity, "refused message", &mark.0);
        Ok(Self { message: mark.map(hash).transpose()?, ..self })
    }

    /// Waits for the password to be looked at; where it is not, the try is given back.
    ///
    /// # Errors
    /// Those of `check`.
    pub(crate) async fn during<T>(
        &self,
        check: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let checked = check.await;
        if checked.is_err() {
            self.end_unjudged().await?;
        }
        checked
    }

    /// The password was wrong, of which `event` tells.
    pub(crate) async fn failed(self, event: &Event<'_>) -> Result<(), Failure> {
        self.refused(End::Failed, event).await
    }

    /// The password was right, and whoever sent it is let in: from now on the client is known.
    pub(crate) async fn succeeded(self) -> Result<(), Failure> {
        let Some((budget, round)) = &self.held else { return Ok(()) };
        let (db, now) = (&self.identity.db, self.identity.now());
        rows::succeed(db, budget, *round).await?;
        let Some(Client { user, hash, noted_at }) = &self.client else { return Ok(()) };
        if noted_at.is_none_or(|at| at.plus(NOTE_CLIENT_EVERY) <= now) {
            clients::remember(db, *user, hash, now, MAX_CLIENTS).await?;
        }
        Ok(())
    }

    /// The password was right, but nobody is let in, of which `event` tells: the try counts neither way.
    pub(crate) async fn given_back(self, event: &Event<'_>) -> Result<(), Failure> {
        self.refused(End::GivenBack, event).await
    }

    async fn refused(self, end: End, event: &Event<'_>) -> Result<(), Failure> {
        let held = self.held.as_ref().map(|(budget, round)| (budget, *round));
        Ok(rows::refuse(&self.identity.db, held, end, self.message.as_ref(), event).await?)
    }

    async fn end_unjudged(&self) -> Result<(), Failure> {
        if let Some((budget, round)) = &self.held {
            rows::give_back(&self.identity.db, budget, *round).await?;
        }
        Ok(())
    }
}

/// The budget that strangers share at a name.
fn strangers_at(username: &str) -> CredentialHash {
    CredentialHash::of(&one_spelling(username))
}

/// All spellings of a name are one name here, too: a second one gives no further guesses.
fn one_spelling(username: &str) -> String {
    let name = rules::typed_username(username).map(|name| name.folded.unwrap_or(name.canonical));
    name.unwrap_or_else(|| username.to_owned())
}

/// Whom a failed login was meant for, as the audit log has it: what was typed is in no event, as it may be a password.
pub(crate) fn target(
    identity: &Identity,
    username: &str,
    user: Option<i64>,
) -> Result<Target, Failure> {
    let name = keyed(identity, "audited name", one_spelling(username).as_bytes())?;
    Ok(user.map_or(Target::Name(name.0), |id| Target::User(UserId(id))))
}

/// A name for what the database need not know, of `kind`: without the service's secret it tells nothing.
fn keyed(identity: &Identity, kind: &str, parts: &[u8]) -> Result<CredentialHash, Failure> {
    let secret = identity.config.token.secret.expose().as_bytes();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret)?;
    mac.update(kind.as_bytes());
    mac.update(&[0]);
    mac.update(parts);
    Ok(CredentialHash(mac.finalize().into_bytes().into()))
}

/// Takes one try out of a budget and gives the round it was taken in.
async fn reserve(
    identity: &Identity,
    context: &Context,
    budget: &CredentialHash,
) -> Result<i64, Failure> {
    let mut failures_before = None;
    let mut pause = FIRST_PAUSE;
    loop {
        let now = identity.now();
        let row = rows::find(&identity.db, budget).await?.unwrap_or_default();
        let wait = u64::try_from(row.free_at.saturating_sub(now.0)).unwrap_or_default();
        if wait > 0 {
            return Err(Refusal::TooManyRequests { retry_after_ms: wait }.into());
        }
        if row.failures >= FREE && failures_before.is_some_and(|before| row.failures > before) {
            // One that was waited for failed.
            break;
        }
        let gone_before = now.plus(-RESERVATION_LIFE);
        if row.in_flight > 0 && row.reserved_at <= gone_before.0 {
            rows::expire(&identity.db, budget, gone_before).await?;
        }
        if let Some(round) = rows::reserve(&identity.db, budget, now).await? {
            return Ok(round);
        }
        failures_before = failures_before.or(Some(row.failures));
        let next = Duration::from_millis(pause);
        if context.remaining() < next + LEFT_FOR_THE_HASH {
            break;
        }
        tokio::time::sleep(next).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
    Err(Refusal::TooManyRequests { retry_after_ms: RETRY_AFTER_MS }.into())
}
