//! An operator's commands.

use super::{Stack, System};
use crate::binary;
use crate::binary::Limits;
use crate::process::{Finished, Process};

impl Stack {
    /// Runs an operator's command, such as `user deactivate NAME`, to its end.
    pub fn operator(&self, arguments: &[&str]) -> Finished {
        self.operator_given(arguments, "")
    }

    /// The same with this on its standard input.
    pub fn operator_given(&self, arguments: &[&str], input: &str) -> Finished {
        match &self.system {
            System::Embedded(one) => {
                let mut command = binary::command(one.folder.path(), &Limits::default());
                command.envs(&self.config.environment).args(arguments);
                Process::start_given(command, input).finish()
            }
            System::Cluster(cluster) => cluster.operator_given(arguments, input),
        }
    }
}
