//! A TCP relay before a server, whose connections can go silent: what a lost machine or a firewall that
//! drops looks like from the other end.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// A relay on a free port of this machine. Its threads end with its connections.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    frozen: Arc<AtomicU64>,
    accepted: Arc<AtomicU64>,
}

impl Relay {
    /// Relays to `port` of this machine.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let own = listener.local_addr().expect("its number").port();
        let relay = Self { port: own, frozen: Arc::default(), accepted: Arc::default() };
        let (frozen, accepted) = (Arc::clone(&relay.frozen), Arc::clone(&relay.accepted));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let number = accepted.fetch_add(1, Ordering::SeqCst) + 1;
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                carry(&client, &server, number, &frozen);
                carry(&server, &client, number, &frozen);
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
        self.frozen.store(self.accepted.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

/// Carries bytes one way until either end closes; swallows them once the connection is frozen.
fn carry(from: &TcpStream, to: &TcpStream, number: u64, frozen: &Arc<AtomicU64>) {
    let clone = |stream: &TcpStream| stream.try_clone().expect("a second handle");
    let (mut from, mut to, frozen) = (clone(from), clone(to), Arc::clone(frozen));
    thread::spawn(move || {
        let mut chunk = [0; 16 * 1_024];
        loop {
            let count = from.read(&mut chunk).unwrap_or(0);
            let is_frozen = number <= frozen.load(Ordering::SeqCst);
            if count == 0 && is_frozen {
                // A machine that is lost says no goodbye.
                return;
            }
            if count == 0 {
                drop(to.shutdown(Shutdown::Write));
                return;
            }
            let part = chunk.get(..count).unwrap_or_default();
            if !is_frozen && to.write_all(part).is_err() {
                return;
            }
        }
    });
}
