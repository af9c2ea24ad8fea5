//! Signing keys: what is published of them, and what an operator does to them. They are the identity service's.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::authority::Receipt;
use crate::caller::Sender;
use crate::ids::Timestamp;
use crate::rpc::{ATTEMPT, Retry, Rpc};

/// Asks which keys anybody may check tokens by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadSigningKeys;

/// The keys that anybody may check tokens by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedKeys {
    /// The `iss` claim of the tokens.
    pub issuer: String,
    /// None where tokens are signed with a secret alone.
    pub keys: Vec<PublishedKey>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedKey {
    /// The thumbprint of the key (RFC 7638), in base64url.
    pub kid: String,
    /// `ES256`, `EdDSA` or `RS256`.
    pub algorithm: String,
    /// What is published of the key itself: a JSON object of the members that its thumbprint is made from.
    pub public: String,
    /// From then on it is not published any more; `None` while no key is to follow it.
    pub until: Option<Timestamp>,
}

/// Asks for every key that there is a row of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListSigningKeys;

/// A key as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKey {
    /// Its name.
    pub kid: String,
    /// How it signs.
    pub algorithm: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it signs.
    pub signs_from: Timestamp,
    /// When it is to sign no more.
    pub signs_until: Timestamp,
    /// When it is not accepted any more; `None` while no key is to follow it.
    pub accepted_until: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Whether tokens are signed with it at this moment.
    pub signs: bool,
}

/// Revokes a signing key: another one signs at once, and whatever it has signed is refused from the reply on. A repeat
/// waits, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeSigningKey {
    /// Its name.
    pub kid: String,
}

impl Rpc for ReadSigningKeys {
    const SUBJECT: &'static str = "v1.identity.signing-keys";
    const TIMEOUT: Duration = Duration::from_secs(2);
    const RETRY: Retry = Retry::Idempotent(ATTEMPT);
    type Reply = PublishedKeys;
}

impl Rpc for ListSigningKeys {
    const SUBJECT: &'static str = "v1.identity.operator.signing-keys";
    const TIMEOUT: Duration = Duration::from_secs(5);
    const RETRY: Retry = Retry::Idempotent(ATTEMPT);
    const SENDER: Option<Sender> = Some(Sender::Operator);
    type Reply = Vec<SigningKey>;
}

impl Rpc for RevokeSigningKey {
    const SUBJECT: &'static str = "v1.identity.operator.revoke-signing-key";
    const TIMEOUT: Duration = Duration::from_secs(20);
    const SENDER: Option<Sender> = Some(Sender::Operator);
    /// `None`: there is no such key, and nothing was done.
    type Reply = Option<Receipt>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use crate::wire::{CONTRACT, encode};

    /// What stands behind the number.
    fn body<T: Message>(value: &T) -> Vec<u8> {
        encode(value, CONTRACT).unwrap()[2..].to_vec()
    }

    #[test]
    fn messages_on_signing_keys_have_these_bytes() {
        assert!(body(&ReadSigningKeys).is_empty());
        assert!(body(&ListSigningKeys).is_empty());
        assert_eq!(body(&RevokeSigningKey { kid: "k".to_owned() }), [1, b'k']);
        let key = PublishedKey {
            kid: "k".to_owned(),
            algorithm: "ES256".to_owned(),
            public: "{}".to_owned(),
            until: Some(Timestamp(1)),
        };
        let published = PublishedKeys { issuer: "i".to_owned(), keys: vec![key] };
        assert_eq!(
            body(&published),
            [&[1, b'i', 1, 1, b'k', 5][..], b"ES256", &[2], b"{}", &[1, 2]].concat()
        );
        let key = SigningKey {
            kid: "k".to_owned(),
            algorithm: "a".to_owned(),
            created_at: Timestamp(1),
            signs_from: Timestamp(2),
            signs_until: Timestamp(3),
            accepted_until: None,
            revoked_at: Some(Timestamp(4)),
            signs: true,
        };
        assert_eq!(body(&vec![key]), [1, 1, b'k', 1, b'a', 2, 4, 6, 0, 1, 8, 1]);
    }
}
