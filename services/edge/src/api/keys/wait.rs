//! Whether a change is waited for, and how far it is.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use latchkey_contract::authority::Changed;
use latchkey_contract::{FieldError, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::json::{ReceiptBody, rfc3339};
use crate::problem::Problem;

/// When to answer.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct WaitQuery {
    /// `false`: answer as soon as the change is on disk, with the moment from which it is exact.
    #[param(value_type = Option<bool>, example = true)]
    wait: Option<String>,
}

/// How far a change is.
#[derive(Serialize, ToSchema)]
pub struct ChangedBody {
    /// No edge acts on what was before any more. Left out where the client did not wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<ReceiptBody>,
    /// The change's number, where the client did not wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<i64>,
    /// From then on no edge acts on what was before, where the client did not wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    exact_from: Option<String>,
}

impl WaitQuery {
    /// Whether to wait.
    pub(super) fn read(query: Result<Query<Self>, QueryRejection>) -> Result<bool, Problem> {
        let wrong = |field, message| Problem::invalid(vec![FieldError::new(field, message)]);
        let Query(query) =
            query.map_err(|_other| wrong("query", "may hold `wait` once, and nothing else"))?;
        match query.wait.as_deref() {
            None | Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(_) => Err(wrong("wait", "must be true or false")),
        }
    }
}

impl From<Option<Changed>> for ChangedBody {
    fn from(changed: Option<Changed>) -> Self {
        let nothing = Self { receipt: None, revision: None, exact_from: None };
        match changed {
            None => nothing,
            Some(Changed::Confirmed(receipt)) => Self { receipt: Some(receipt.into()), ..nothing },
            Some(Changed::Committed { revision, exact_from }) => {
                // A fraction of a second that is cut off would promise too much.
                let second = exact_from.plus(Timestamp::SECOND - 1);
                Self { revision: Some(revision.0), exact_from: Some(rfc3339(second)), ..nothing }
            }
        }
    }
}
