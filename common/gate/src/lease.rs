//! The membership at one authority, kept by an actor: it joins, renews the lease, applies
//! invalidations and then acknowledges them. What to do when is the [`Keeper`]'s to say.

use std::marker::PhantomData;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use latchkey_bus::{Bus, Context, MessageHandler, RequestId, Subscription};
use latchkey_contract::authority::{Authority, Invalidating, Join, Leave, Renew};
use latchkey_contract::lease::{Epoch, Joined, MemberId, MemberResult, Renewed};
use latchkey_contract::wire::{self, Contracts};
use latchkey_contract::{CallError, CredentialHash, Rpc};
use latchkey_revocation::{Ask, Bounds, Cache, Keeper, Moment, Next};
use latchkey_runtime::{Address, Child, Clock, Entropy};
use metrics::{counter, gauge};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use crate::remembered::Judged;

/// Invalidations that wait to be applied at most. One that is dropped is published again, or waited out.
const MAX_WAITING: usize = 10_000;
/// What the log of a renewal says in place of a request's id.
const LEASE_ID: &str = "lease";
/// How long the authority is told of a member that ends.
const FAREWELL: Duration = Duration::from_millis(500);

/// Counts the times everything was forgotten.
const DROPPED: &str = "latchkey_caches_dropped_total";

/// What is remembered of one authority.
pub type Memory = Cache<CredentialHash, Judged>;

/// What the actor is told.
pub enum Message {
    /// What the authority publishes is heard from now on.
    Subscribed(Subscription),
    /// Look whether something is due. Carries which of the timers this is: only the last one counts.
    Tick(u64),
    /// The authority published a change, by this contract.
    Invalidated(u16, Invalidating),
    /// The authority published something that cannot be read: the next renewal tells what it was.
    Unreadable,
    /// A join was answered.
    Joined(u64, Result<Joined, CallError>),
    /// A renewal was answered.
    Renewed(u64, Result<MemberResult<Renewed<CredentialHash>>, CallError>),
    /// An answer says that this member is none.
    Expelled(MemberId),
    /// What this member remembers is not what its authority says.
    Doubted(MemberId),
    /// An answer is of this history.
    OtherEpoch(Epoch),
    /// What the authority publishes is not heard any more, or cannot be.
    Unheard,
}

/// The actor.
pub struct LeaseKeeper<A> {
    deps: LeaseDeps,
    /// Whether it is the first of its lives: a start of the service waits until it hears.
    is_first: Arc<AtomicBool>,
    authority: PhantomData<fn() -> A>,
}

/// What it works with.
#[derive(Clone)]
pub struct LeaseDeps {
    /// What the process is called.
    pub name: &'static str,
    /// Where the authority is asked.
    pub bus: Bus,
    /// Which time it is.
    pub clock: Clock,
    /// Where ids come from.
    pub entropy: Entropy,
    /// Lease and renewal.
    pub bounds: Bounds,
    /// What requests look up.
    pub memory: Arc<Memory>,
}

/// What the actor remembers.
pub struct State {
    keeper: Keeper,
    waiting: Arc<AtomicUsize>,
    timer: u64,
    connected: bool,
    /// Whether it has ever joined, and why its last attempt failed, which is said once.
    has_joined: bool,
    cannot_join: Option<String>,
    /// While there is none, nobody joins.
    invalidations: Option<Subscription>,
    _subscribing: AbortOnDropHandle<()>,
}

/// The child that keeps the membership at `A`, and where it is told of answers.
#[must_use]
pub fn child<A: Authority>(name: &'static str, deps: LeaseDeps) -> (Address<Message>, Child) {
    let (address, is_first) = (Address::new(), Arc::new(AtomicBool::new(true)));
    let child = Child::new(name, address.clone(), move || {
        let (deps, is_first) = (deps.clone(), Arc::clone(&is_first));
        (LeaseKeeper::<A> { deps, is_first, authority: PhantomData }, ())
    });
    (address, child)
}

impl State {
    /// Says that it has joined, and whether that was so before.
    fn has_joined(&mut self, service: &'static str, authority: &'static str) {
        self.cannot_join = None;
        let how = if mem::replace(&mut self.has_joined, true) { "joined again" } else { "joined" };
        tracing::info!(
            service,
            authority,
            "{how}: verified credentials are remembered from now on"
        );
    }

    /// Says that it cannot join, once for each reason until it has: one that stays may come after one that passes.
    fn cannot_join(&mut self, service: &'static str, authority: &'static str, error: &CallError) {
        let reason = error.to_string();
        if self.cannot_join.as_ref() != Some(&reason) {
            tracing::warn!(service, authority, %error, "cannot join: no credential is remembered until it succeeds");
            self.cannot_join = Some(reason);
        }
    }
}

impl<A: Authority> Actor for LeaseKeeper<A> {
    type Msg = Message;
    type State = State;
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        (): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        counter!(DROPPED, "authority" => A::NAME).increment(0);
        let waiting = Arc::new(AtomicUsize::new(0));
        let (subscribing, heard) = self.subscribe(&myself, &waiting);
        if self.is_first.load(Ordering::Relaxed) {
            heard.await.map_err(|_ended| "invalidations are not heard")?;
            self.is_first.store(false, Ordering::Relaxed);
        }
        Ok(State {
            keeper: Keeper::new(&self.deps.bounds),
            waiting,
            timer: 0,
            connected: true,
            has_joined: false,
            cannot_join: None,
            invalidations: None,
            _subscribing: subscribing,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let (memory, was) = (&*self.deps.memory, state.keeper.member());
        match message {
            Message::Subscribed(subscription) => state.invalidations = Some(subscription),
            Message::Tick(timer) if timer < state.timer => return Ok(()),
            Message::Invalidated(contract, message) => {
                state.waiting.fetch_sub(1, Ordering::Relaxed);
                self.apply(state, contract, message).await;
            }
            Message::Unreadable => {
                state.waiting.fetch_sub(1, Ordering::Relaxed);
                state.keeper.missed();
            }
            Message::Joined(nonce, Ok(joined)) => {
                state.keeper.joined(memory, nonce, joined);
                if was.is_none() && state.keeper.member().is_some() {
                    state.has_joined(self.deps.name, A::NAME);
                }
            }
            Message::Joined(nonce, Err(error)) => {
                state.cannot_join(self.deps.name, A::NAME, &error);
                state.keeper.failed(nonce);
            }
            Message::Renewed(nonce, Ok(renewed)) => {
                state.keeper.renewed(memory, nonce, renewed, self.now());
            }
            Message::Renewed(nonce, Err(error)) => {
                tracing::debug!(service = self.deps.name, authority = A::NAME, %error, "a lease was not renewed");
                state.keeper.failed(nonce);
            }
            Message::Expelled(member) => state.keeper.expelled(memory, member),
            Message::Doubted(member) if was == Some(member) => self.leave(&myself, state),
            Message::Tick(_) | Message::Doubted(_) => {}
            Message::OtherEpoch(epoch) => state.keeper.other_epoch(memory, epoch),
            Message::Unheard => return Err(self.unheard(&myself, state)),
        }
        if state.keeper.member().is_some() && memory.is_torn() {
            tracing::error!(
                service = self.deps.name,
                authority = A::NAME,
                "a panic interrupted a change to what is remembered: everything is forgotten"
            );
            self.leave(&myself, state);
        }
        if was.is_some() && state.keeper.member().is_none() {
            counter!(DROPPED, "authority" => A::NAME).increment(1);
            tracing::warn!(
                service = self.deps.name,
                authority = A::NAME,
                "the membership has ended: everything that was remembered is forgotten"
            );
        }
        let held = f64::from(u8::from(memory.is_live(self.now())));
        gauge!("latchkey_lease_held", "authority" => A::NAME).set(held);
        // Whoever does not hear yet what is revoked remembers nothing.
        if state.invalidations.is_some() {
            self.advance(&myself, state);
        }
        Ok(())
    }

    /// The last thing a member does: requests have ended, so nothing is looked up any more.
    async fn post_stop(
        &self,
        _myself: ActorRef<Self::Msg>,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(member) = state.keeper.member() {
            state.keeper.expelled(&*self.deps.memory, member);
            let context = Context::new(RequestId::new(LEASE_ID), FAREWELL);
            if let Err(error) = self.deps.bus.call(&context, &Leave::<A>::new(member)).await {
                tracing::debug!(service = self.deps.name, authority = A::NAME, %error, "the authority cannot be told that this member leaves");
            }
        }
        Ok(())
    }
}

/// Decodes what is published and puts it into the actor's queue, unless that is full.
fn hear(
    name: &'static str,
    reads: Contracts,
    actor: ActorRef<Message>,
    waiting: Arc<AtomicUsize>,
) -> MessageHandler {
    Arc::new(move |_: &str, payload: Bytes| {
        let message = match wire::decode::<Invalidating>(&payload, reads) {
            Ok((contract, message)) => Message::Invalidated(contract, message),
            Err(error) => {
                tracing::warn!(service = name, %error, "an invalidation cannot be read: the lease is renewed at once");
                Message::Unreadable
            }
        };
        if waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING
            || actor.send_message(message).is_err()
        {
            waiting.fetch_sub(1, Ordering::Relaxed);
        }
    })
}

impl<A: Authority> LeaseKeeper<A> {
    /// Subscribes, and says so to the actor and to whoever waits for that. In a task of its own: while the bus is away it
    /// waits, and neither this actor nor its supervisor may.
    fn subscribe(
        &self,
        myself: &ActorRef<Message>,
        waiting: &Arc<AtomicUsize>,
    ) -> (AbortOnDropHandle<()>, oneshot::Receiver<()>) {
        let LeaseDeps { name, bus, .. } = self.deps.clone();
        let hear = hear(name, bus.contracts(), myself.clone(), Arc::clone(waiting));
        let (actor, myself, (heard, is_heard)) =
            (myself.clone(), myself.clone(), oneshot::channel());
        let ended = Box::new(move || {
            // An actor that has ended has dropped the subscription itself.
            let _ = actor.send_message(Message::Unheard);
        });
        #[expect(
            clippy::disallowed_methods,
            reason = "ended with the actor, which is told where it fails or panics"
        )]
        let task = tokio::spawn(async move {
            match bus.subscribe(A::INVALIDATIONS, hear, ended).await {
                Ok(subscription) => {
                    // The actor may have ended, and nobody may wait.
                    let _ = myself.send_message(Message::Subscribed(subscription));
                    let _ = heard.send(());
                }
                Err(error) => {
                    tracing::error!(service = name, authority = A::NAME, %error, "invalidations cannot be subscribed to");
                }
            }
        });
        (AbortOnDropHandle::new(task), is_heard)
    }

    /// Forgets everything, and tells the authority, so that no revoke waits for this member. What comes of that tells
    /// nobody anything.
    fn leave(&self, myself: &ActorRef<Message>, state: &mut State) {
        let Some(member) = state.keeper.member() else { return };
        state.keeper.expelled(&*self.deps.memory, member);
        self.ask(myself, Leave::<A>::new(member), |_| Message::Tick(0));
    }

    /// Leaves, so that the next life joins anew and nothing rests on what this one has not heard.
    fn unheard(&self, myself: &ActorRef<Message>, state: &mut State) -> ActorProcessingErr {
        if state.keeper.member().is_some() {
            counter!(DROPPED, "authority" => A::NAME).increment(1);
        }
        self.leave(myself, state);
        // The next life may wait long until it hears again.
        gauge!("latchkey_lease_held", "authority" => A::NAME).set(0.0);
        tracing::error!(
            service = self.deps.name,
            authority = A::NAME,
            "invalidations no longer arrive: everything that was remembered is forgotten"
        );
        "invalidations are not heard any more".into()
    }

    fn now(&self) -> Moment {
        Moment(self.deps.clock.lease_nanos())
    }

    /// Applies a change, and only then acknowledges it, by the contract that told of it.
    async fn apply(&self, state: &mut State, contract: u16, message: Invalidating) {
        let applied = state.keeper.invalidate(&*self.deps.memory, &message.invalidate);
        let Some(acknowledge) = applied else { return };
        let subject = message.waiter.subject::<A>(self.deps.bus.user());
        let sent = match wire::encode(&acknowledge, contract) {
            Ok(bytes) => self.deps.bus.publish(&subject, bytes.into()).await,
            Err(error) => {
                tracing::error!(service = self.deps.name, %error, "an acknowledgement cannot be encoded");
                return;
            }
        };
        if let Err(error) = sent {
            tracing::debug!(service = self.deps.name, %error, "an acknowledgement was not sent");
        }
    }

    /// Sends what is due, and sets the timer for what is not.
    fn advance(&self, myself: &ActorRef<Message>, state: &mut State) {
        let connected = self.deps.bus.is_connected();
        if connected && !state.connected {
            state.keeper.reconnected();
        }
        state.connected = connected;
        loop {
            let now = self.now();
            match state.keeper.next(now, || MemberId(self.deps.entropy.bytes())) {
                Next::Send(Ask::Join { nonce, member }) => {
                    let lease_ms = self.deps.bounds.lease() / Moment::MILLISECOND;
                    let join = Join::<A>::new(member, lease_ms);
                    self.ask(myself, join, move |answer| Message::Joined(nonce, answer));
                }
                Next::Send(Ask::Renew { nonce, member, since }) => {
                    let renew = Renew::<A>::new(member, since);
                    self.ask(myself, renew, move |answer| Message::Renewed(nonce, answer));
                }
                Next::Wait(until) => {
                    state.timer += 1;
                    let timer = state.timer;
                    let span = Duration::from_nanos(until.since(now));
                    // The handle only serves to take the message back; an old one is ignored.
                    drop(myself.send_after(span, move || Message::Tick(timer)));
                    return;
                }
            }
        }
    }

    /// Asks in a task of its own: invalidations are applied meanwhile. The keeper bounds how many.
    fn ask<R: Rpc>(
        &self,
        myself: &ActorRef<Message>,
        request: R,
        tell: impl FnOnce(Result<R::Reply, CallError>) -> Message + Send + 'static,
    ) {
        let (bus, myself) = (self.deps.bus.clone(), myself.clone());
        let patience = Duration::from_nanos(self.deps.bounds.lease());
        #[expect(clippy::disallowed_methods, reason = "bounded in number and time by the keeper")]
        tokio::spawn(async move {
            let context = Context::new(RequestId::new(LEASE_ID), patience);
            let answer = bus.call(&context, &request).await;
            // The actor may have ended.
            let _ = myself.send_message(tell(answer));
        });
    }
}

#[cfg(test)]
mod tests;
