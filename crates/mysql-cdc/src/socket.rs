//! The bytes between this process and a MySQL server, encrypted or not.
//!
//! Every wait is bounded by the patience of the moment and ends when the job ends, although the
//! server says nothing.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// How long one system call may wait before the job is asked whether it has ended.
const POLL: Duration = Duration::from_millis(100);

/// Asked while a read waits: whether to give up because the job has ended.
pub(crate) type StopCheck = Arc<dyn Fn() -> bool + Send + Sync>;

/// A connection to a server.
pub(crate) struct Socket {
    stream: Stream,
    patience: Duration,
    /// When everything that is being exchanged must be over, however busily the server talks.
    deadline: Option<Instant>,
    stop: StopCheck,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Socket {
    /// Connects within a time limit, trying every address of the host.
    pub(crate) fn connect(
        host: &str,
        port: u16,
        patience: Duration,
        stop: StopCheck,
    ) -> io::Result<Self> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let mut failure = io::Error::new(ErrorKind::NotFound, "the host has no address");
        for address in (host, port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, patience) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(POLL))?;
                    stream.set_write_timeout(Some(POLL))?;
                    return Ok(Self {
                        stream: Stream::Plain(stream),
                        patience,
                        deadline: None,
                        stop,
                    });
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Starts encryption. The handshake runs with the first bytes that are sent.
    pub(crate) fn encrypt(self, host: &str, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let Self { stream: Stream::Plain(stream), patience, deadline, stop } = self else {
            return Ok(self);
        };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
        let connection =
            ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        let stream = Stream::Tls(Box::new(StreamOwned::new(connection, stream)));
        Ok(Self { stream, patience, deadline, stop })
    }

    /// How long a read may wait for the server's next word.
    pub(crate) fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Bounds all that follows, until the next call.
    pub(crate) fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// Repeats a call that timed out, as long as patience lasts.
    fn patiently<T>(
        &mut self,
        mut call: impl FnMut(&mut Stream) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut waited = Duration::ZERO;
        loop {
            if self.deadline.is_some_and(|deadline| Instant::now() > deadline) {
                return Err(io::Error::other("the server takes too long to answer"));
            }
            match call(&mut self.stream) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    if (self.stop)() {
                        return Err(io::Error::new(
                            ErrorKind::ConnectionAborted,
                            "the job has ended",
                        ));
                    }
                    waited += POLL;
                    if waited > self.patience {
                        // Not `TimedOut`: nobody is to call again.
                        return Err(io::Error::other("the server says nothing"));
                    }
                }
                result => return result,
            }
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.patiently(|stream| match stream {
            Stream::Plain(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        })
    }
}

impl Write for Socket {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.patiently(|stream| match stream {
            Stream::Plain(stream) => stream.write(buffer),
            Stream::Tls(stream) => stream.write(buffer),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.patiently(|stream| match stream {
            Stream::Plain(stream) => stream.flush(),
            Stream::Tls(stream) => stream.flush(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn silent(patience: Duration, stopped: bool) -> (Socket, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = Arc::new(AtomicBool::new(stopped));
        let check: StopCheck = Arc::new(move || stop.load(Ordering::Relaxed));
        let mut socket = Socket::connect("127.0.0.1", port, Duration::from_secs(5), check).unwrap();
        socket.set_patience(patience);
        (socket, listener)
    }

    #[test]
    fn a_read_ends_when_the_job_ends() {
        let (mut socket, _listener) = silent(Duration::from_secs(600), true);
        assert_eq!(socket.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionAborted);
    }

    #[test]
    fn a_silent_server_is_given_up() {
        let (mut socket, _listener) = silent(Duration::ZERO, false);
        assert_eq!(socket.read(&mut [0]).unwrap_err().to_string(), "the server says nothing");
    }
}
