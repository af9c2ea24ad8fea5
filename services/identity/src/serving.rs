//! The service while the database names its secret, started anew whenever it does so again. Both kinds of process
//! that run it, its own and the standalone, run it by this.

use std::pin::Pin;
use std::sync::Arc;

use latchkey_runtime::StartError;
use latchkey_runtime::supervisor::Running;
use latchkey_service::failed_too_often;

use crate::signer::{self, Named};
use crate::user_scopes::Keeper;
use crate::{Config, Deps, Started};

/// The service, and what it is started anew with.
pub struct Serving {
    config: Config,
    deps: Deps,
    keeper: Arc<Keeper>,
    state: State,
}

enum State {
    /// It waits until the database names its secret.
    Starting(Starting),
    Serving(Started),
}

type Starting = Pin<Box<dyn Future<Output = Result<Started, StartError>> + Send>>;

impl Serving {
    /// The service, which starts when it is [served](Self::serve).
    #[must_use]
    pub fn new(config: Config, deps: Deps) -> Self {
        let keeper = Arc::new(Keeper::new(config.user_scopes.clone()));
        let state = State::Starting(starting(&config, &deps, &keeper));
        Self { config, deps, keeper, state }
    }

    /// Starts the service, or begins to wait where the database does not name its secret.
    ///
    /// # Errors
    /// [`StartError`] where it does not start.
    pub async fn begin(config: Config, deps: Deps) -> Result<Self, StartError> {
        let keeper = Arc::new(Keeper::new(config.user_scopes.clone()));
        let mut starting = starting(&config, &deps, &keeper);
        let state = tokio::select! {
            started = &mut starting => State::Serving(started?),
            waits = signer::waits(&deps.db, &config) => {
                waits?;
                State::Starting(starting)
            }
        };
        Ok(Self { config, deps, keeper, state })
    }

    /// Has it serve while the database names its secret. `ready` is called whenever it begins to, `lost` whenever
    /// it has to stop. What runs is in `running`, and stays there. It returns where it cannot start, or failed too
    /// often.
    pub async fn serve<F>(
        self,
        running: &mut Option<Running>,
        ready: impl Fn(Named) -> F,
        lost: impl Fn(),
    ) -> StartError
    where
        F: Future<Output = ()>,
    {
        let Self { config, deps, keeper, mut state } = self;
        loop {
            let started = match state {
                State::Starting(starting) => starting.await,
                State::Serving(started) => Ok(started),
            };
            let Started { running: actors, mut named } = match started {
                Ok(started) => started,
                Err(error) => return error,
            };
            let actors = running.insert(actors);
            ready(named.clone()).await;
            tokio::select! {
                () = actors.failed() => return failed_too_often("identity"),
                () = named.lost() => {}
            }
            lost();
            if let Some(actors) = running.take() {
                actors.stop().await;
            }
            state = State::Starting(starting(&config, &deps, &keeper));
        }
    }
}

fn starting(config: &Config, deps: &Deps, keeper: &Arc<Keeper>) -> Starting {
    Box::pin(crate::start_with(config.clone(), deps.clone(), Arc::clone(keeper)))
}
