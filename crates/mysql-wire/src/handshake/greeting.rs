//! The server's first packet.

use crate::cursor::Cursor;
use crate::error::{Error, Result};

/// What a server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    /// Its version, for example `9.7.4` or `10.11.19-MariaDB`.
    pub version: String,
    /// Its number of this connection.
    pub connection_id: u32,
    pub(super) capabilities: u32,
    pub(super) nonce: Vec<u8>,
    pub(super) plugin: String,
}

impl Greeting {
    /// Whether the server is MariaDB.
    #[must_use]
    pub fn is_mariadb(&self) -> bool {
        self.version.contains("MariaDB")
    }

    /// Major, minor and patch number, 0 where missing.
    #[must_use]
    pub fn version_numbers(&self) -> (u32, u32, u32) {
        // MariaDB puts `5.5.5-` before its version for old replicas.
        let version = self.version.strip_prefix("5.5.5-").unwrap_or(&self.version);
        let mut numbers = version
            .split(|character: char| !character.is_ascii_digit())
            .map(|number| number.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        (next(), next(), next())
    }

    pub(super) fn parse(packet: &[u8]) -> Result<Self> {
        match packet.first() {
            Some(10) => Self::parse_fields(packet).ok_or_else(|| Error::short("greeting")),
            Some(version) => Err(Error::Unsupported(format!(
                "the server speaks protocol version {version}, not 10"
            ))),
            None => Err(Error::short("greeting")),
        }
    }

    fn parse_fields(packet: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(packet);
        cursor.u8()?;
        let version = String::from_utf8_lossy(cursor.until_zero()?).into_owned();
        let connection_id = cursor.u32()?;
        let mut nonce = cursor.take(8)?.to_vec();
        cursor.u8()?;
        let mut capabilities = u32::from(cursor.u16()?);
        let mut plugin = String::new();
        if !cursor.is_empty() {
            cursor.take(3)?;
            capabilities |= u32::from(cursor.u16()?) << 16;
            let nonce_len = usize::from(cursor.u8()?);
            cursor.take(10)?;
            let rest = cursor.take(nonce_len.saturating_sub(8).max(13).min(cursor.len()))?;
            nonce.extend_from_slice(rest.strip_suffix(&[0]).unwrap_or(rest));
            let name = cursor.rest();
            let name = name.strip_suffix(&[0]).unwrap_or(name);
            plugin = String::from_utf8_lossy(name).into_owned();
        }
        Some(Self { version, connection_id, capabilities, nonce, plugin })
    }
}
