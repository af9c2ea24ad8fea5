//! A TCP relay before a server, whose connections can go silent: what a lost machine or a firewall that
//! drops looks like from the other end.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// A relay on a free port of this machine. Its threads end with its connections.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    switches: Arc<Switches>,
}

#[derive(Debug, Default)]
struct Switches {
    accepted: AtomicU64,
    /// Connections up to this number carry nothing.
    frozen: AtomicU64,
    cut: AtomicBool,
    delay_ms: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

impl Relay {
    /// Relays to `port` of this machine.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let own = listener.local_addr().expect("its number").port();
        let relay = Self { port: own, switches: Arc::default() };
        let switches = Arc::clone(&relay.switches);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let number = switches.accepted.fetch_add(1, Ordering::SeqCst) + 1;
                // A connection is on the list before anybody looks whether it may be: none escapes a cut.
                let handle = client.try_clone().expect("a second handle");
                switches.open.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
                let server = TcpStream::connect(("127.0.0.1", port));
                let (false, Ok(server)) = (switches.cut.load(Ordering::SeqCst), server) else {
                    drop(client.shutdown(Shutdown::Both));
                    continue;
                };
                carry(&client, &server, number, &switches);
                carry(&server, &client, number, &switches);
            }
        });
        relay
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on the connections there are carry nothing, and stay open. Further ones work.
    pub fn freeze(&self) {
        let accepted = self.switches.accepted.load(Ordering::SeqCst);
        self.switches.frozen.store(accepted, Ordering::SeqCst);
    }

    /// From now on no connection carries anything, nor does a further one until [`Relay::mend`].
    pub fn silence(&self) {
        self.switches.frozen.store(u64::MAX, Ordering::SeqCst);
    }

    /// Breaks every connection, and takes no further one until [`Relay::mend`].
    pub fn cut(&self) {
        self.switches.cut.store(true, Ordering::SeqCst);
        let mut open = self.switches.open.lock().unwrap_or_else(PoisonError::into_inner);
        for connection in open.drain(..) {
            drop(connection.shutdown(Shutdown::Both));
        }
    }

    /// Whatever goes through is late by this much from now on.
    pub fn delay(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.switches.delay_ms.store(millis, Ordering::SeqCst);
    }

    /// Takes connections again, and delays nothing. Those that were silent stay so.
    pub fn mend(&self) {
        if self.switches.frozen.load(Ordering::SeqCst) == u64::MAX {
            self.freeze();
        }
        self.switches.cut.store(false, Ordering::SeqCst);
        self.switches.delay_ms.store(0, Ordering::SeqCst);
    }
}

/// Carries bytes one way until either end closes; swallows them once the connection is frozen.
fn carry(from: &TcpStream, to: &TcpStream, number: u64, switches: &Arc<Switches>) {
    let clone = |stream: &TcpStream| stream.try_clone().expect("a second handle");
    let (mut from, mut to, switches) = (clone(from), clone(to), Arc::clone(switches));
    thread::spawn(move || {
        let mut chunk = [0; 16 * 1_024];
        loop {
            let count = from.read(&mut chunk).unwrap_or(0);
            let is_frozen = number <= switches.frozen.load(Ordering::SeqCst);
            if count == 0 && is_frozen {
                // A machine that is lost says no goodbye.
                return;
            }
            if count == 0 {
                drop(to.shutdown(Shutdown::Write));
                return;
            }
            thread::sleep(Duration::from_millis(switches.delay_ms.load(Ordering::SeqCst)));
            let part = chunk.get(..count).unwrap_or_default();
            if !is_frozen && to.write_all(part).is_err() {
                drop(from.shutdown(Shutdown::Both));
                return;
            }
        }
    });
}
