//! The command `migrate` of a service that is a process of its own.

use std::time::Duration;

use latchkey_runtime::process::{self, Signals};
use latchkey_runtime::{Exit, StartError};

use crate::migrate::newest;
use crate::{Db, Migration, Opening};

/// How long the command waits for a database that is away.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it waits for older releases to end.
const FINISH_PATIENCE: Duration = Duration::from_secs(10);

/// Brings a service's tables up to date and says what was done. With `finish` it leaves them to this release and later
/// ones besides, and does this statement in the same transaction; it has no arguments.
///
/// # Errors
/// [`StartError`] where the tables cannot be used, something older still uses them, or the process is asked to end
/// before it is done.
pub async fn migrate(opening: Opening, finish: Option<String>) -> Result<(), StartError> {
    let Opening { config, process, service, migrations } = opening;
    let db = config.open(process).await?;
    let mut signals = Signals::listen()?;
    let work = signals.unless_ended(Box::pin(work(&db, service, migrations, finish)));
    let done = work.await.ok_or_else(|| {
        StartError::new(Exit::Unavailable, "asked to end before the tables were up to date")
    });
    db.close().await;
    done?
}

async fn work(
    db: &Db,
    service: &'static str,
    migrations: &[Migration],
    finish: Option<String>,
) -> Result<(), StartError> {
    let taken = db.prepare(service, migrations, Some(PATIENCE)).await?;
    for step in migrations {
        let state = if taken.contains(&step.version) { "applied now" } else { "was there" };
        process::print_line(&format!(
            "{service} {:04} {}: {state}",
            step.version, step.description
        ));
    }
    process::print_line(&format!("The {service} tables are up to date."));
    if let Some(note) = finish {
        let done = db.finish_noting(service, migrations, FINISH_PATIENCE, &note).await?;
        let (lowest, since) = (done.lowest, if done.is_raised { "now" } else { "before" });
        process::print_line(&format!(
            "They are for releases that know step {lowest} or later, since {since}."
        ));
        return Ok(());
    }
    let lowest = db.lowest(service).await;
    let lowest = lowest.map_err(|error| StartError::new(Exit::Unavailable, error.to_string()))?;
    if lowest < newest(migrations) {
        process::print_line(&format!(
            "Releases that know step {lowest} still may use them: when none runs any more, and there is no going back, \
             run `migrate --finish`."
        ));
    }
    Ok(())
}
