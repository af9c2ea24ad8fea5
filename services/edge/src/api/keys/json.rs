//! The JSON of `/keys…`.

use std::collections::BTreeMap;

use latchkey_contract::authority::Changed;
use latchkey_contract::keys::IssuedKey;
use latchkey_contract::{KeyId, Timestamp, UserId};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::object::KeyFields;
use crate::api::json::{ReceiptBody, rfc3339};

/// What a key is to be: old clients need name no scopes, and get the default then.
macro_rules! new_key_body {
    ($(#[$about:meta])* $name:ident, $(#[$scopes_about:meta])* $scopes:ty) => {
        $(#[$about])*
        #[derive(ToSchema)]
        #[schema(example = json!({"name": "ci", "expires_in_days": 90, "scopes": ["orders:read"]}))]
        pub struct $name {
            /// What the key is for. Spaces at its ends are taken off before its length is counted.
            #[schema(min_length = 1, max_length = 100)]
            pub name: String,
            /// Days until the key expires; left out or null: as configured. The greatest may be configured to be less.
            #[schema(minimum = 1, maximum = 3650)]
            pub expires_in_days: Option<i64>,
            /// When the key expires, instead of `expires_in_days`.
            #[schema(value_type = String, format = DateTime, required = false)]
            pub expires_at: Option<String>,
            /// What the key is for, at length.
            #[schema(max_length = 1000)]
            pub description: Option<String>,
            /// At most 16 members whose values are texts, numbers, booleans or null; told to whoever verifies the key. No place
            /// for secrets.
            pub metadata: Option<BTreeMap<String, Value>>,
            /// Whose key it is in your own system.
            #[schema(pattern = "^[!-~]{1,128}$")]
            pub external_id: Option<String>,
            /// By which the key is found: at most 20.
            #[schema(max_items = 20)]
            pub tags: Option<Vec<String>>,
            /// The environment that the key is for: the first, or that of the key that makes it, where it is left out.
            pub environment: Option<String>,
            $(#[$scopes_about])*
            pub scopes: $scopes,
            /// Where from the key may be used, as CIDRs; empty: from anywhere. Left out: as the key that makes it.
            #[schema(value_type = Vec<String>, required = false, max_items = 20)]
            pub allowed_ips: Option<Vec<String>>,
        }
    };
}

new_key_body!(
    /// `POST /keys/create`.
    CreateKeyBody,
    /// What the key may do; left out: as configured, which is everything that its owner may where nothing else is. An
    /// empty list grants nothing.
    #[schema(value_type = Vec<String>, required = false, max_items = 64)]
    Option<Vec<String>>
);
new_key_body!(
    /// `POST /keys`.
    NewKeyBody,
    /// What the key may do. An empty list grants nothing.
    #[schema(max_items = 64)]
    Vec<String>
);

/// A key that was made: the only answer that shows it.
#[derive(Serialize, ToSchema)]
pub struct CreatedKeyBody {
    id: i64,
    /// The key itself: a prefix, the environment's name unless it is the first one, random characters and a checksum.
    /// Keep it now: nobody can show it again.
    #[schema(pattern = r"^[a-z][a-z0-9]{1,15}(_[a-z0-9]{2,12})?_[0-9A-Za-z]{49}$")]
    key: String,
    #[serde(flatten)]
    fields: KeyFields,
}

/// A key that was revoked.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"message": "API key revoked successfully", "key_id": 1, "receipt": {"revision": 7, "edges_confirmed": 2, "waited_ms": 1}}))]
pub struct RevokedBody {
    message: &'static str,
    key_id: i64,
    /// No edge accepts the key any more. Left out where the client did not wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<ReceiptBody>,
    /// The change's number, where the client did not wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<i64>,
    /// From then on no edge accepts the key, where the client did not wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    exact_from: Option<String>,
}

impl CreatedKeyBody {
    /// How a key that was made is shown to its owner, once.
    #[must_use]
    pub fn new(issued: IssuedKey, owner: UserId) -> Self {
        let IssuedKey { object, key, .. } = issued;
        let id = object.id.0;
        Self { id, key: key.expose().to_owned(), fields: KeyFields::new(object, owner) }
    }
}

impl RevokedBody {
    /// The answer to a purge of `key`: what was waited for was its end.
    pub(crate) fn purged(key: KeyId) -> Self {
        let message = "API key purged successfully";
        Self { message, key_id: key.0, receipt: None, revision: None, exact_from: None }
    }

    /// The answer to a revoke of `key`.
    pub(crate) fn new(key: KeyId, changed: Changed) -> Self {
        let bare = Self {
            message: "API key revoked successfully",
            key_id: key.0,
            receipt: None,
            revision: None,
            exact_from: None,
        };
        match changed {
            Changed::Confirmed(receipt) => Self { receipt: Some(receipt.into()), ..bare },
            Changed::Committed { revision, exact_from } => {
                // A fraction of a second that is cut off would promise too much.
                let second = exact_from.plus(Timestamp::SECOND - 1);
                Self { revision: Some(revision.0), exact_from: Some(rfc3339(second)), ..bare }
            }
        }
    }
}
