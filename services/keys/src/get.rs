//! Showing one key: what changes of it are decided on.

use std::sync::Arc;

use latchkey_bus::Context;
use latchkey_contract::keys::{GetKey, KeyObject};
use latchkey_contract::{Failure, Refusal};

use crate::{Keys, acting, store};

/// A key that does not exist and one of another owner are the same.
pub(crate) async fn get(
    keys: Arc<Keys>,
    context: Context,
    request: GetKey,
) -> Result<KeyObject, Failure> {
    acting::reads(context.caller()?, request.owner)?;
    let key = store::key::get(&keys.db, request.owner, request.key, keys.now()).await?;
    Ok(key.ok_or(Refusal::KeyNotFound)?)
}
