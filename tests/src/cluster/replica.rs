//! One process of a cluster: started, stopped, killed, and looked at.

use serde_json::Value;

use super::{Replica, START, Service};
use crate::process::{Finished, Process, mortal};
use crate::{binary, poll, raw};

impl Replica {
    /// The address of an edge, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The address of the second listener, with metrics and health.
    pub fn monitor(&self) -> String {
        format!("http://127.0.0.1:{}", self.monitor)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.running().id()
    }

    /// Whether the process runs.
    pub fn runs(&self) -> bool {
        self.process.as_ref().is_some_and(Process::runs)
    }

    /// Every line logged since the last start.
    pub fn logs(&self) -> Vec<String> {
        self.process.as_ref().map(Process::stderr).unwrap_or_default()
    }

    /// Sets an environment variable, from the next start on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    /// Takes an environment variable away, from the next start on.
    pub fn unset(&mut self, name: &str) {
        self.environment.remove(name);
    }

    /// Sends SIGKILL and returns at once: [`Replica::kill`] waits for the end.
    pub fn strike(&mut self) {
        self.process.as_mut().expect("it runs").strike();
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    /// Stops it (SIGSTOP): it keeps its connections and answers nothing.
    pub fn pause(&self) {
        self.running().pause();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.running().resume();
    }

    /// Asks for a stop (SIGTERM) and returns at once.
    pub fn terminate(&self) {
        self.running().terminate();
    }

    /// Asks for a stop and waits for it.
    pub fn stop(&mut self) -> Finished {
        self.terminate();
        self.ended()
    }

    /// Waits until a process that was asked to end has ended.
    pub fn end(&mut self) {
        self.process.as_mut().expect("it runs").end();
    }

    /// Waits for an end that was asked for with [`Replica::terminate`], and takes it.
    pub fn ended(&mut self) -> Finished {
        self.process.take().expect("it runs").finish()
    }

    /// Starts it again, stopped in good order first where it runs, and waits until it is ready; an edge, until
    /// it reaches those whom it asks.
    pub fn restart(&mut self) {
        if self.process.is_some() {
            let end = self.stop();
            assert_eq!(end.code, Some(0), "a stop in good order: {}", end.stderr);
        }
        self.launch();
        self.wait_ready();
        if self.service == Service::Edge {
            self.until_it_asks();
        }
    }

    /// Waits until an edge says that it can answer.
    pub(super) fn until_it_asks(&self) {
        let message = "GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n";
        poll::until("the edge can answer", START, || {
            assert!(self.runs(), "it has ended: {:#?}", self.logs());
            raw::exchange(&self.url, message).filter(|answer| answer.status == 200)
        });
    }

    /// Starts it and returns at once.
    pub fn launch(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let program = binary::named(self.service.binary());
        let mut command = binary::clean(mortal(program), self.folder.path());
        command.envs(&self.environment);
        self.process = Some(Process::start(command));
    }

    /// Waits until it has said that it is ready.
    pub fn wait_ready(&mut self) {
        let name = self.service.binary();
        let process = self.process.as_mut().expect("it runs");
        poll::until("the service is ready", START, || {
            let lines = process.stderr();
            let ready = lines.iter().any(|line| says_ready(line));
            assert!(ready || process.ended().is_none(), "{name} ended: {lines:#?}");
            ready.then_some(())
        });
    }

    /// Runs one of the service's own commands, such as `migrate`, with the same variables, to its end.
    pub fn run(&self, arguments: &[&str]) -> Finished {
        let program = binary::named(self.service.binary());
        let mut command = binary::clean(mortal(program), self.folder.path());
        command.envs(&self.environment).args(arguments);
        Process::start(command).finish()
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("it runs")
    }
}

fn says_ready(line: &str) -> bool {
    serde_json::from_str::<Value>(line).is_ok_and(|line| line["message"] == "ready")
}
