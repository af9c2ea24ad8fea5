//! Who acts, and from where: what the envelope of a command says beside the command's own fields.
//!
//! An edge says it of whom it has verified, an operator's command of the operator, and nobody else is believed: the
//! bus compares [`Sender`] with the user that asks. Services take who acts from here alone; what a command names
//! besides (a user, a key) is what it is about.

mod kept;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use smol_str::SmolStr;

use crate::ids::{KeyId, RequestId, SessionId, UserId};
use crate::principal::{Detail, Owner, Principal};
use crate::text::is_invisible;

pub use kept::Kept;

/// Bytes of a name of an operator or a service at most.
const MAX_NAME: usize = 64;

/// Who acts, and from where.
#[derive(Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who acts.
    pub actor: Actor,
    /// The address that the client is known by; `None` where nobody knows it. An edge has it from its connection, or
    /// from the proxies that it trusts.
    pub address: Option<IpAddr>,
    /// How much of that is written down: whoever answers decides it, and no message says it.
    pub kept: Kept,
    /// What the client says of itself.
    pub user_agent: Option<UserAgent>,
    /// The request that the command is part of.
    pub request_id: RequestId,
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Somebody who has shown no credential: whoever signs up or logs in.
    Anonymous,
    /// A user.
    User {
        /// The user.
        id: UserId,
        /// By which session.
        session: SessionId,
    },
    /// A program.
    Key {
        /// The key.
        id: KeyId,
        /// Whose it is.
        owner: Owner,
    },
    /// A person who operates the installation.
    Operator {
        /// Their user on the bus.
        name: SmolStr,
    },
    /// A service, of its own accord.
    System {
        /// Its name.
        service: SmolStr,
    },
}

/// What may name who acts: a role that users of the bus have by their name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// An edge, for its clients and of its own accord.
    Edge,
    /// An operator's command, for the operator.
    Operator,
}

/// What a client says of itself (RFC 9110 §10.1.5), so that it can be stored and shown: at most [`UserAgent::MAX`]
/// bytes, and no character that is not drawn.
#[derive(Clone, PartialEq, Eq)]
pub struct UserAgent(SmolStr);

/// A text that is none that [`Actor`] or [`UserAgent`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not in the form in which it is written")]
pub struct Malformed;

/// What was asked is not for whoever acts, which an edge never lets happen: why, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forbidden(pub &'static str);

impl Caller {
    /// A caller of whom nothing else is known.
    #[must_use]
    pub fn of(actor: Actor, request_id: RequestId) -> Self {
        Self { actor, address: None, kept: Kept::Full, user_agent: None, request_id }
    }

    /// What is written down of the client's address, where somebody knows it.
    #[must_use]
    pub fn kept_address(&self) -> Option<String> {
        self.address.and_then(|address| self.kept.of(address))
    }

    /// Whether whoever acts may do to `user` what a user may do to themselves.
    ///
    /// # Errors
    /// [`Forbidden`] where it is somebody else, or is no user.
    pub fn acts_as(&self, user: UserId) -> Result<(), Forbidden> {
        match self.actor {
            Actor::User { id, .. } if id == user => Ok(()),
            _ => Err(Forbidden("whoever acts is not the user whom it is about")),
        }
    }

    /// Whether whoever acts does so by this session.
    ///
    /// # Errors
    /// [`Forbidden`] where it is another, or none.
    pub fn acts_by(&self, session: SessionId) -> Result<(), Forbidden> {
        match self.actor {
            Actor::User { session: by, .. } if by == session => Ok(()),
            _ => Err(Forbidden("whoever acts does not do so by the session that it is about")),
        }
    }

    /// The user who acts, and the session.
    ///
    /// # Errors
    /// [`Forbidden`] where it is no user.
    pub fn user(&self) -> Result<(UserId, SessionId), Forbidden> {
        match self.actor {
            Actor::User { id, session } => Ok((id, session)),
            _ => Err(Forbidden("whoever acts is no user")),
        }
    }

    /// The network that the client is known by.
    #[must_use]
    pub fn network(&self) -> Option<IpAddr> {
        self.address.map(network)
    }
}

/// Shows neither address nor user agent: they are for the audit log, not for others.
impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("actor", &self.actor.kind())
            .field("request_id", &self.request_id.as_str())
            .finish_non_exhaustive()
    }
}

/// An IPv4 address, or the /64 of an IPv6 one: one customer has all of that, and single addresses in it are free to
/// make up.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

impl Actor {
    /// Whoever a credential stands for.
    #[must_use]
    pub fn of(principal: &Principal) -> Self {
        match &principal.detail {
            Detail::User(user) => Self::User { id: user.id, session: user.session },
            Detail::Key(key) => Self::Key { id: key.id, owner: key.owner },
        }
    }

    /// What kind it is, for logs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::User { .. } => "user",
            Self::Key { .. } => "key",
            Self::Operator { .. } => "operator",
            Self::System { .. } => "system",
        }
    }
}

/// As it stands in the envelope.
impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        match self {
            Self::Anonymous => Ok(()),
            Self::User { id, session } => write!(f, ":{id}:{session}"),
            Self::Key { id, owner: Owner::User(user) } => write!(f, ":{id}:user:{user}"),
            Self::Operator { name } | Self::System { service: name } => write!(f, ":{name}"),
        }
    }
}

impl FromStr for Actor {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let number = |text: &str| text.parse().map_err(|_none| Malformed);
        let mut parts = text.split(':');
        let read = (parts.next(), parts.next(), parts.next(), parts.next(), parts.next());
        let actor = match read {
            (Some("anonymous"), None, ..) => Self::Anonymous,
            (Some("user"), Some(id), Some(session), None, _) => {
                let session = session.parse().map_err(|_none| Malformed)?;
                Self::User { id: UserId(number(id)?), session }
            }
            (Some("key"), Some(id), Some("user"), Some(owner), None) => {
                let owner = Owner::User(UserId(number(owner)?));
                Self::Key { id: KeyId(number(id)?), owner }
            }
            (Some("operator"), Some(name), None, ..) if is_name(name) => {
                Self::Operator { name: name.into() }
            }
            (Some("system"), Some(name), None, ..) if is_name(name) => {
                Self::System { service: name.into() }
            }
            _ => return Err(Malformed),
        };
        // One spelling each: no sign, no leading zero.
        if actor.to_string() == text { Ok(actor) } else { Err(Malformed) }
    }
}

fn is_name(text: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(is_fit)
}

impl Sender {
    /// What the bus' users of this role are called: so, or so with anything behind a hyphen.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Operator => "operator",
        }
    }

    /// Whether a user of the bus has this role.
    #[must_use]
    pub fn is(self, user: &str) -> bool {
        let rest = user.strip_prefix(self.name());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }

    /// Whether a user of the bus, who has this role, may say that `actor` acts.
    #[must_use]
    pub fn may_name(self, user: &str, actor: &Actor) -> bool {
        match (self, actor) {
            (Self::Edge, Actor::Anonymous | Actor::User { .. } | Actor::Key { .. }) => true,
            (Self::Edge, Actor::System { service }) => service == self.name(),
            (Self::Operator, Actor::Operator { name }) => name == user,
            _ => false,
        }
    }
}

impl UserAgent {
    /// Bytes of one at most.
    pub const MAX: usize = 255;

    /// What is kept of a header: what is not drawn is written as its number (`\u{1b}`), what is not UTF-8 as U+FFFD,
    /// and what is beyond [`MAX`](Self::MAX) is cut off, and so are spaces of any script around it: the bus' client
    /// would do so. `None` where nothing is left.
    #[must_use]
    pub fn clean(header: &[u8]) -> Option<Self> {
        // Each byte of it is at least one that is kept.
        let header = header.get(..Self::MAX).unwrap_or(header).trim_ascii();
        let mut kept = String::with_capacity(header.len());
        for c in String::from_utf8_lossy(header).chars() {
            let shown =
                if is_invisible(c) { c.escape_unicode().to_string() } else { c.to_string() };
            if kept.len() + shown.len() > Self::MAX {
                break;
            }
            kept.push_str(&shown);
        }
        let kept = kept.trim();
        (!kept.is_empty()).then(|| Self(kept.into()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserAgent {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let fits = (1..=Self::MAX).contains(&text.len()) && !text.contains(is_invisible);
        if fits { Ok(Self(text.into())) } else { Err(Malformed) }
    }
}

impl fmt::Debug for UserAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserAgent")
    }
}

#[cfg(test)]
mod tests;
