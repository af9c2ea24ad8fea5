//! Tells the key service of all owners anew where either database has begun a new epoch: it was restored, or another
//! server has taken over, and may know less than was told, or know what was never decided here.
//!
//! How far it is told stands with the key service. A page names the version that was read there before anything was
//! read here, so that a message which comes late, or from a replica that stood still, is refused.

use latchkey_bus::{Bus, Context};
use latchkey_contract::keys::{ReadTelling, TellOwners, Telling, ToldOwner};
use latchkey_contract::lease::Revision;
use latchkey_contract::{CallError, UserId};
use latchkey_store::{Db, StoreError};

use crate::NAME;
use crate::store::owners as rows;

/// Pages of one run at most; the next run goes on.
const MAX_PAGES: usize = 1_000;

/// Why the key service is not told of everything.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It did not answer, or refused.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The own database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The own database has begun another epoch meanwhile, or there are more pages than one run tells.
    #[error("the key service is told of further accounts by the next run")]
    Later,
}

impl Error {
    /// Whether it is mended by the next run, or when the key service is back.
    pub(crate) fn is_expected(&self) -> bool {
        match self {
            Self::Call(error) => error.is_away() || matches!(error, CallError::Unavailable),
            Self::Store(error) => error.is_away(),
            Self::Later => true,
        }
    }
}

/// Tells the key service of all owners, where it does not know of them in its and our present histories; how far it
/// is told then.
///
/// # Errors
/// [`Error`] where it is not certain that everything is told.
pub(crate) async fn tell(db: &Db, bus: &Bus, context: &Context) -> Result<Telling, Error> {
    let mut telling = bus.call(context, &ReadTelling).await?;
    for _ in 0..MAX_PAGES {
        let here = rows::revision(db).await?;
        if telling.is_complete(here.epoch()) {
            return Ok(telling);
        }
        let (revision, after): (Revision, Option<UserId>) = if telling.is_under_way(here.epoch()) {
            (telling.revision, telling.through)
        } else {
            tracing::info!(
                service = NAME,
                "the key service is told of every account that is deactivated or has a ceiling of its own"
            );
            (here.revision(), None)
        };
        let mut owners = rows::told(db, after, TellOwners::MAX + 1).await?;
        let fit = fitting(&owners);
        let more = owners.len() > fit;
        owners.truncate(fit);
        let default_ceiling = Some(rows::default_ceiling(db).await?);
        // What was read is of this history, and not of an older one that was put in its place meanwhile.
        let of = here.epoch();
        if rows::revision(db).await?.epoch() != of {
            return Err(Error::Later);
        }
        let Telling { version, epoch: keys, .. } = telling;
        let page = TellOwners { version, keys, of, revision, after, owners, more, default_ceiling };
        // Where a replica beside this one was faster, it says how far that came.
        telling = bus.call(context, &page).await?;
    }
    Err(Error::Later)
}

/// How many of these owners one page has room for: the first always.
fn fitting(owners: &[ToldOwner]) -> usize {
    let mut text = 0;
    let fits = |told: &&ToldOwner| {
        text += told.ceiling.as_ref().map_or(0, |ceiling| ceiling.as_text().len());
        text <= TellOwners::MAX_TEXT
    };
    owners.iter().take(TellOwners::MAX).take_while(fits).count()
}
