//! A proxy between a client and a server that can be switched to another server and can spoil connections.
//!
//! Invariant: bytes pass unchanged, except on the one connection for which a [`Spoil`] was asked.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use crate::Error;

const BUFFER_BYTES: usize = 16 * 1024;

/// What happens to a connection once the server has sent so many bytes over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoil {
    /// It is closed.
    CloseAfter(usize),
    /// The bytes that follow are inverted.
    GarbleAfter(usize),
    /// Nothing follows.
    StallAfter(usize),
    /// From its beginning on, bytes come one at a time, with a pause of so many milliseconds.
    Trickle(u64),
}

#[derive(Debug, Default)]
struct State {
    port: AtomicU16,
    ended: AtomicBool,
    /// For connections to come, the next one last.
    spoils: Mutex<Vec<Spoil>>,
    open: Mutex<Vec<TcpStream>>,
}

/// A proxy on a port of its own.
#[derive(Debug)]
pub struct TcpProxy {
    port: u16,
    state: Arc<State>,
}

impl TcpProxy {
    /// Starts a proxy for a server on this machine.
    pub fn start(server_port: u16) -> Result<Self, Error> {
        let listener =
            TcpListener::bind(("127.0.0.1", 0)).map_err(Error::io("listen on a port"))?;
        let port = listener.local_addr().map_err(Error::io("ask for the port"))?.port();
        let state = Arc::new(State { port: AtomicU16::new(server_port), ..State::default() });
        let served = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if served.ended.load(Ordering::SeqCst) {
                    return;
                }
                serve(client, &served);
            }
        });
        Ok(Self { port, state })
    }

    /// Where the proxy listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Closes all connections; those to come go to another server.
    pub fn switch_to(&self, server_port: u16) {
        self.state.port.store(server_port, Ordering::SeqCst);
        self.cut();
    }

    /// Closes all connections.
    pub fn cut(&self) {
        for stream in self.state.open.lock().drain(..) {
            // A connection that is closed already needs no closing.
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    /// Spoils the connections to come, one each.
    pub fn spoil_next(&self, spoils: &[Spoil]) {
        *self.state.spoils.lock() = spoils.iter().rev().copied().collect();
    }

    /// Whether connections that are to be spoilt have not come yet.
    #[must_use]
    pub fn is_waiting_to_spoil(&self) -> bool {
        !self.state.spoils.lock().is_empty()
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the thread that accepts.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn serve(client: TcpStream, state: &Arc<State>) {
    let spoil = state.spoils.lock().pop();
    let Ok(server) = TcpStream::connect(("127.0.0.1", state.port.load(Ordering::SeqCst))) else {
        return;
    };
    let clones = (client.try_clone(), server.try_clone(), client.try_clone(), server.try_clone());
    let (Ok(to_client), Ok(to_server), Ok(client_handle), Ok(server_handle)) = clones else {
        return;
    };
    state.open.lock().extend([client_handle, server_handle]);
    thread::spawn(move || pass(client, to_server, None));
    thread::spawn(move || pass(server, to_client, spoil));
}

/// Passes bytes on until one side closes.
fn pass(mut from: TcpStream, mut to: TcpStream, spoil: Option<Spoil>) {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut passed = 0;
    while let Ok(count) = from.read(&mut buffer) {
        let Some(bytes) = buffer.get_mut(..count).filter(|bytes| !bytes.is_empty()) else { break };
        if !deliver(bytes, &mut to, spoil, passed) {
            break;
        }
        passed += count;
    }
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}

/// Passes bytes on, spoilt as asked; false if nothing shall follow.
fn deliver(bytes: &mut [u8], to: &mut TcpStream, spoil: Option<Spoil>, passed: usize) -> bool {
    let clean = |after: usize, len: usize| after.saturating_sub(passed).min(len);
    match spoil {
        None => to.write_all(bytes).is_ok(),
        Some(Spoil::CloseAfter(after)) => {
            let good = clean(after, bytes.len());
            to.write_all(bytes.get(..good).unwrap_or_default()).is_ok() && good == bytes.len()
        }
        Some(Spoil::GarbleAfter(after)) => {
            let good = clean(after, bytes.len());
            bytes.iter_mut().skip(good).for_each(|byte| *byte = !*byte);
            to.write_all(bytes).is_ok()
        }
        Some(Spoil::StallAfter(after)) => {
            let good = clean(after, bytes.len());
            to.write_all(bytes.get(..good).unwrap_or_default()).is_ok()
        }
        Some(Spoil::Trickle(pause_ms)) => bytes.chunks(1).all(|byte| {
            thread::park_timeout(Duration::from_millis(pause_ms));
            to.write_all(byte).is_ok()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends `hello` and closes.
    fn greeter() -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                client.write_all(b"hello").unwrap();
            }
        });
        port
    }

    fn received(proxy: &TcpProxy) -> Vec<u8> {
        let mut bytes = Vec::new();
        TcpStream::connect(("127.0.0.1", proxy.port())).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn one_connection_is_spoilt_and_the_next_is_not() {
        let proxy = TcpProxy::start(greeter()).unwrap();
        proxy.spoil_next(&[Spoil::CloseAfter(2), Spoil::GarbleAfter(4), Spoil::Trickle(1)]);
        assert_eq!(received(&proxy), b"he");
        assert_eq!(received(&proxy), [b'h', b'e', b'l', b'l', !b'o']);
        assert_eq!(received(&proxy), b"hello");
        assert!(!proxy.is_waiting_to_spoil());
        assert_eq!(received(&proxy), b"hello");
    }
}
