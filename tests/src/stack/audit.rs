//! An operator's commands on a service's tables and audit logs, beside its database.

use super::{Stack, System};
use crate::binary::Limits;
use crate::process::{Finished, Process, mortal};
use crate::{Service, binary};

impl Stack {
    /// Runs a command on a service's audit log to its end; the one process has those of both.
    pub fn audit(&self, service: Service, arguments: &[&str]) -> Finished {
        self.own(service, &[&["audit"], arguments].concat(), &[])
    }

    /// Runs a command on a service's database to its end, with these variables set as well.
    pub fn own(&self, service: Service, arguments: &[&str], set: &[(&str, &str)]) -> Finished {
        let mut command = match &self.system {
            System::Embedded(one) => binary::command(one.folder.path(), &Limits::default()),
            System::Cluster(_) => {
                let program = mortal(binary::named(service.binary()));
                binary::clean(program, &std::env::temp_dir())
            }
        };
        command.envs(&self.config.environment).envs(set.iter().copied()).args(arguments);
        if let System::Cluster(cluster) = &self.system {
            command.env("DATABASE_URL", cluster.database(service));
        }
        Process::start(command).finish()
    }
}
