//! From the server's greeting to its first OK: capabilities, encryption and authentication.
//!
//! A state machine over packets, so that it needs no socket: [`Handshake::step`] takes what the server
//! sent and says what to do next. The password leaves this module only scrambled, encrypted with the
//! server's public key, or through an encrypted connection.

mod greeting;
mod public_key;

use std::fmt;
use std::io::{self, Read, Write};

use mysql_common::scramble::{scramble_native, scramble_sha256};

use crate::cursor::{Cursor, put_lenenc, put_lenenc_bytes};
use crate::error::{Error, Result};
use crate::packet::PacketReader;
use crate::reply::{parse_done, parse_error};

pub use greeting::Greeting;

pub(crate) const CLIENT_LONG_PASSWORD: u32 = 1;
pub(crate) const CLIENT_LONG_FLAG: u32 = 1 << 2;
pub(crate) const CLIENT_CONNECT_WITH_DB: u32 = 1 << 3;
pub(crate) const CLIENT_PROTOCOL_41: u32 = 1 << 9;
pub(crate) const CLIENT_SSL: u32 = 1 << 11;
pub(crate) const CLIENT_TRANSACTIONS: u32 = 1 << 13;
pub(crate) const CLIENT_SECURE_CONNECTION: u32 = 1 << 15;
pub(crate) const CLIENT_PLUGIN_AUTH: u32 = 1 << 19;
pub(crate) const CLIENT_CONNECT_ATTRS: u32 = 1 << 20;
pub(crate) const CLIENT_PLUGIN_AUTH_LENENC: u32 = 1 << 21;
pub(crate) const CLIENT_DEPRECATE_EOF: u32 = 1 << 24;

/// `utf8mb4_general_ci`, which every server since 5.5 knows.
const COLLATION: u8 = 45;
const MAX_PACKET: u32 = 1 << 30;
/// Scrambles are made over the first 20 bytes of the server's nonce.
const NONCE_BYTES: usize = 20;

const CACHING_SHA2: &str = "caching_sha2_password";
const SHA256: &str = "sha256_password";
const NATIVE: &str = "mysql_native_password";

const CACHING_SHA2_KEY_REQUEST: u8 = 2;
const SHA256_KEY_REQUEST: u8 = 1;

/// A password. It prints as `***`, so that it reaches no log.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Takes a password; the empty one is none.
    pub fn new(password: impl Into<String>) -> Self {
        Self(password.into())
    }

    fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn with_zero(&self) -> Vec<u8> {
        [self.bytes(), &[0]].concat()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Whether the connection is to be encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encryption {
    /// Never.
    Disabled,
    /// If the server can.
    #[default]
    Preferred,
    /// Always; a server that cannot is refused.
    Required,
}

/// Who connects, and how.
#[derive(Clone, Debug, Default)]
pub struct HandshakeOptions {
    /// The user.
    pub user: String,
    /// The user's password.
    pub password: Password,
    /// The database to start in.
    pub database: Option<String>,
    /// Whether to encrypt.
    pub encryption: Encryption,
    /// Refuse to send the password to a server that is not encrypted and whose public key would have to be
    /// believed unseen (`allowPublicKeyRetrieval=false` of Connector/J).
    pub refuse_public_key: bool,
    /// Names and values that the server shows in `performance_schema.session_connect_attrs`.
    pub attributes: Vec<(String, String)>,
}

/// What to do after a packet.
#[derive(Clone, PartialEq, Eq)]
pub enum Action {
    /// Send this payload, then read the next packet.
    Send(Vec<u8>),
    /// Send this payload, encrypt the stream, call [`Handshake::encrypted`], send what that returns.
    Encrypt(Vec<u8>),
    /// Read the next packet.
    Read,
    /// The connection is ready for commands.
    Done,
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Payloads may hold a password.
        f.write_str(match self {
            Self::Send(_) => "Send",
            Self::Encrypt(_) => "Encrypt",
            Self::Read => "Read",
            Self::Done => "Done",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    Encrypting,
    Authenticating,
    PublicKey,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plugin {
    CachingSha2,
    /// Its predecessor. Servers also name it for users who do not exist, so as not to tell that.
    Sha256,
    Native,
}

impl Plugin {
    fn named(name: &str) -> Option<Self> {
        match name {
            CACHING_SHA2 => Some(Self::CachingSha2),
            SHA256 => Some(Self::Sha256),
            NATIVE => Some(Self::Native),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::CachingSha2 => CACHING_SHA2,
            Self::Sha256 => SHA256,
            Self::Native => NATIVE,
        }
    }
}

/// A handshake under way.
#[derive(Debug)]
pub struct Handshake {
    options: HandshakeOptions,
    state: State,
    encrypted: bool,
    plugin: Plugin,
    nonce: Vec<u8>,
    greeting: Greeting,
}

impl Handshake {
    /// A handshake that waits for the server's greeting.
    #[must_use]
    pub fn new(options: HandshakeOptions) -> Self {
        Self {
            options,
            state: State::Greeting,
            encrypted: false,
            plugin: Plugin::CachingSha2,
            nonce: Vec::new(),
            greeting: Greeting::default(),
        }
    }

    /// What the server said of itself; empty before its greeting.
    #[must_use]
    pub const fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// Takes a packet of the server.
    ///
    /// # Errors
    /// [`Error::Server`] if the server refuses the user, [`Error::Unsupported`] if it wants what cannot be
    /// done, [`Error::Malformed`] if the packet is none of the handshake.
    pub fn step(&mut self, packet: &[u8]) -> Result<Action> {
        if packet.first() == Some(&0xff) {
            return Err(parse_error(packet));
        }
        match self.state {
            State::Greeting => self.greet(packet),
            State::Authenticating => self.authenticate(packet),
            State::PublicKey => self.encrypt_password(packet),
            State::Encrypting | State::Done => {
                Err(Error::malformed("handshake", "a packet comes where none is due"))
            }
        }
    }

    /// Tells that the stream is encrypted now; returns the payload to send through it.
    pub fn encrypted(&mut self) -> Vec<u8> {
        self.encrypted = true;
        self.state = State::Authenticating;
        self.response()
    }

    fn greet(&mut self, packet: &[u8]) -> Result<Action> {
        self.greeting = Greeting::parse(packet)?;
        let needed = CLIENT_PROTOCOL_41 | CLIENT_PLUGIN_AUTH | CLIENT_SECURE_CONNECTION;
        if self.greeting.capabilities & needed != needed {
            let version = &self.greeting.version;
            return Err(Error::Unsupported(format!(
                "server version {version} is too old: use 5.7 or later"
            )));
        }
        self.nonce = self.greeting.nonce.clone();
        // A first answer to sha256_password cannot be a request for the key: let the server switch to it.
        let plugin =
            Plugin::named(&self.greeting.plugin).filter(|plugin| *plugin != Plugin::Sha256);
        self.plugin = plugin.unwrap_or(Plugin::CachingSha2);
        let offered = self.greeting.capabilities & CLIENT_SSL != 0;
        match self.options.encryption {
            Encryption::Required if !offered => Err(Error::Unsupported(
                "the server does not offer encrypted connections, but they are required".into(),
            )),
            Encryption::Required | Encryption::Preferred if offered => {
                self.state = State::Encrypting;
                Ok(Action::Encrypt(self.ssl_request()))
            }
            Encryption::Required | Encryption::Preferred | Encryption::Disabled => {
                self.state = State::Authenticating;
                Ok(Action::Send(self.response()))
            }
        }
    }

    fn capabilities(&self) -> u32 {
        let mut wanted = CLIENT_LONG_PASSWORD
            | CLIENT_LONG_FLAG
            | CLIENT_PROTOCOL_41
            | CLIENT_TRANSACTIONS
            | CLIENT_SECURE_CONNECTION
            | CLIENT_PLUGIN_AUTH
            | CLIENT_PLUGIN_AUTH_LENENC
            | CLIENT_DEPRECATE_EOF;
        if self.state == State::Encrypting || self.encrypted {
            wanted |= CLIENT_SSL;
        }
        if self.options.database.is_some() {
            wanted |= CLIENT_CONNECT_WITH_DB;
        }
        if !self.options.attributes.is_empty() {
            wanted |= CLIENT_CONNECT_ATTRS;
        }
        wanted & self.greeting.capabilities
    }

    fn ssl_request(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(self.capabilities().to_le_bytes());
        out.extend(MAX_PACKET.to_le_bytes());
        out.push(COLLATION);
        out.extend([0; 23]);
        out
    }

    fn response(&self) -> Vec<u8> {
        let capabilities = self.capabilities();
        let mut out = self.ssl_request();
        out.extend_from_slice(self.options.user.as_bytes());
        out.push(0);
        let scramble = self.scramble();
        if capabilities & CLIENT_PLUGIN_AUTH_LENENC != 0 {
            put_lenenc_bytes(&mut out, &scramble);
        } else {
            // A scramble has at most 32 bytes.
            out.push(u8::try_from(scramble.len()).unwrap_or(0));
            out.extend(scramble);
        }
        if capabilities & CLIENT_CONNECT_WITH_DB != 0 {
            out.extend_from_slice(self.options.database.as_deref().unwrap_or_default().as_bytes());
            out.push(0);
        }
        out.extend_from_slice(self.plugin.name().as_bytes());
        out.push(0);
        if capabilities & CLIENT_CONNECT_ATTRS != 0 {
            let mut all = Vec::new();
            for (name, value) in &self.options.attributes {
                put_lenenc_bytes(&mut all, name.as_bytes());
                put_lenenc_bytes(&mut all, value.as_bytes());
            }
            put_lenenc(&mut out, all.len() as u64);
            out.extend(all);
        }
        out
    }

    /// The scrambled password, empty for an empty password.
    fn scramble(&self) -> Vec<u8> {
        let password = self.options.password.bytes();
        let nonce = self.nonce.get(..NONCE_BYTES).unwrap_or(&self.nonce);
        match self.plugin {
            Plugin::CachingSha2 => scramble_sha256(nonce, password).map(|s| s.to_vec()),
            Plugin::Native => scramble_native(nonce, password).map(|s| s.to_vec()),
            // It has no scramble. Outside of TLS, a byte asks for the public key.
            Plugin::Sha256 if password.is_empty() => Some(vec![0]),
            Plugin::Sha256 if self.encrypted => Some(self.options.password.with_zero()),
            Plugin::Sha256 => Some(vec![SHA256_KEY_REQUEST]),
        }
        .unwrap_or_default()
    }

    fn authenticate(&mut self, packet: &[u8]) -> Result<Action> {
        match packet {
            [0x00, ..] => {
                parse_done(packet)?;
                self.state = State::Done;
                Ok(Action::Done)
            }
            [0xfe, rest @ ..] => self.switch_plugin(rest),
            // caching_sha2_password: the server knows the scramble, or wants the password itself.
            [0x01, 0x03] => Ok(Action::Read),
            [0x01, 0x04] if self.plugin == Plugin::CachingSha2 => self.full_authentication(),
            _ => Err(Error::malformed("handshake", "an unknown authentication packet")),
        }
    }

    fn switch_plugin(&mut self, request: &[u8]) -> Result<Action> {
        let mut cursor = Cursor::new(request);
        let name = cursor.until_zero().unwrap_or_default();
        let name = String::from_utf8_lossy(name);
        self.plugin = Plugin::named(&name).ok_or_else(|| unsupported_plugin(&name))?;
        let nonce = cursor.rest();
        self.nonce = nonce.strip_suffix(&[0]).unwrap_or(nonce).to_vec();
        let answer = self.scramble();
        if self.plugin == Plugin::Sha256 && answer == [SHA256_KEY_REQUEST] {
            return self.request_key(SHA256_KEY_REQUEST);
        }
        Ok(Action::Send(answer))
    }

    fn full_authentication(&mut self) -> Result<Action> {
        if self.encrypted {
            return Ok(Action::Send(self.options.password.with_zero()));
        }
        self.request_key(CACHING_SHA2_KEY_REQUEST)
    }

    fn request_key(&mut self, request: u8) -> Result<Action> {
        if self.options.refuse_public_key {
            return Err(Error::Unsupported(
                "the server asks for the password, but the connection is not encrypted and the server's \
                 public key must not be retrieved: use an encrypted connection"
                    .into(),
            ));
        }
        self.state = State::PublicKey;
        Ok(Action::Send(vec![request]))
    }

    fn encrypt_password(&mut self, packet: &[u8]) -> Result<Action> {
        let [0x01, pem @ ..] = packet else {
            return Err(Error::malformed("handshake", "the server's public key is missing"));
        };
        let mut password = self.options.password.with_zero();
        for (byte, mask) in password.iter_mut().zip(self.nonce.iter().take(NONCE_BYTES).cycle()) {
            *byte ^= mask;
        }
        self.state = State::Authenticating;
        public_key::encrypt(&password, pem).map(Action::Send)
    }
}

fn unsupported_plugin(name: &str) -> Error {
    Error::Unsupported(format!(
        "the user authenticates through `{name}`, which is not supported: \
         ALTER USER … IDENTIFIED WITH caching_sha2_password"
    ))
}

/// Runs the whole handshake over a stream that [`PacketReader`] has just been made of. `encrypt` is called at
/// most once, when the server is to be spoken to in TLS.
///
/// # Errors
/// Those of [`Handshake::step`], and [`Error::Io`] of the stream or of `encrypt`.
pub fn authenticate<S: Read + Write>(
    mut packets: PacketReader<S>,
    options: HandshakeOptions,
    encrypt: impl FnOnce(S) -> io::Result<S>,
) -> Result<(PacketReader<S>, Greeting)> {
    let mut handshake = Handshake::new(options);
    let mut encrypt = Some(encrypt);
    loop {
        match handshake.step(packets.next()?)? {
            Action::Send(payload) => packets.send(&payload)?,
            Action::Encrypt(request) => {
                packets.send(&request)?;
                let Some(encrypt) = encrypt.take() else {
                    return Err(Error::malformed("handshake", "encryption is asked for twice"));
                };
                packets = packets.wrap_stream(encrypt)?;
                let response = handshake.encrypted();
                packets.send(&response)?;
            }
            Action::Read => {}
            Action::Done => return Ok((packets, handshake.greeting)),
        }
    }
}

#[cfg(test)]
mod tests;
