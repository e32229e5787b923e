//! A server that does what a script says, whatever the client wants: for clients that must survive it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::Error;

/// A step of a script.
#[derive(Debug, Clone)]
pub enum Act {
    /// Sends bytes as they are.
    Send(Vec<u8>),
    /// Sends a MySQL packet: the payload behind its length and this sequence number.
    Packet(u8, Vec<u8>),
    /// Waits for bytes of the client.
    Hear,
    /// Sends bytes one at a time, with a pause before each.
    Trickle(Vec<u8>, Duration),
    /// Sends the same bytes again and again.
    Flood(Vec<u8>),
    /// Says nothing until the client closes the connection.
    Wait,
}

/// A server on a port of its own; each connection runs the script from its beginning.
#[derive(Debug)]
pub struct ScriptedServer {
    port: u16,
    ended: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
}

impl ScriptedServer {
    /// Starts a server. A connection is closed at the script's end.
    pub fn start(script: Vec<Act>) -> Result<Self, Error> {
        let listener =
            TcpListener::bind(("127.0.0.1", 0)).map_err(Error::io("listen on a port"))?;
        let port = listener.local_addr().map_err(Error::io("ask for the port"))?.port();
        let (ended, connections) = (Arc::default(), Arc::default());
        let server =
            Self { port, ended: Arc::clone(&ended), connections: Arc::clone(&connections) };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                connections.fetch_add(1, Ordering::SeqCst);
                let script = script.clone();
                thread::spawn(move || perform(client, &script));
            }
        });
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections have come.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn perform(mut client: TcpStream, script: &[Act]) {
    let mut buffer = [0; 4096];
    // A client that waits for ever must not keep the test's process.
    if client.set_read_timeout(Some(Duration::from_secs(120))).is_err() {
        return;
    }
    for act in script {
        let done = match act {
            Act::Send(bytes) => client.write_all(bytes),
            Act::Packet(sequence, payload) => {
                let mut bytes = u32::try_from(payload.len()).unwrap_or(0).to_le_bytes();
                if let Some(last) = bytes.last_mut() {
                    *last = *sequence;
                }
                client.write_all(&bytes).and_then(|()| client.write_all(payload))
            }
            Act::Trickle(bytes, pause) => bytes.chunks(1).try_for_each(|byte| {
                thread::park_timeout(*pause);
                client.write_all(byte)
            }),
            Act::Flood(bytes) => loop {
                if let Err(error) = client.write_all(bytes) {
                    break Err(error);
                }
            },
            Act::Hear => client.read(&mut buffer).map(drop),
            Act::Wait => loop {
                match client.read(&mut buffer) {
                    Ok(0) | Err(_) => break Ok(()),
                    Ok(_) => {}
                }
            },
        };
        if done.is_err() {
            return;
        }
    }
}
