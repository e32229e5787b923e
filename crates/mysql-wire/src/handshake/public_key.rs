//! Encrypts the password with the public key that a server sends.
//!
//! The key comes from the network and `mysql_common` panics on a malformed one, so its form is checked here
//! first: everything that `mysql_common` would take for granted.

use crate::cursor::Cursor;
use crate::error::{Error, Result};

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const INTEGER: u8 = 0x02;
/// What OAEP with SHA-1 needs besides the message.
const OAEP_BYTES: usize = 42;
/// Keys of MySQL have 2,048 bits; far larger ones would only burn time.
const MAX_MODULUS_BYTES: usize = 2048;

pub(super) fn encrypt(message: &[u8], pem: &[u8]) -> Result<Vec<u8>> {
    let modulus_bytes = pem_body(pem).and_then(|der| modulus_bytes(&der)).ok_or_else(|| {
        Error::malformed("handshake", "the server's public key is no RSA key in PEM form")
    })?;
    if message.len() + OAEP_BYTES > modulus_bytes {
        return Err(Error::Unsupported(
            "the password is too long for the server's public key: use an encrypted connection"
                .into(),
        ));
    }
    Ok(mysql_common::crypto::encrypt(message, pem))
}

/// The bytes between the lines of `-----BEGIN PUBLIC KEY-----` and `-----END PUBLIC KEY-----`.
fn pem_body(pem: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(pem).ok()?;
    let (before, body) = text.split_once("-----BEGIN PUBLIC KEY-----")?;
    let (body, _) = body.split_once("-----END PUBLIC KEY-----")?;
    if before.contains("-----") || body.contains('-') {
        return None;
    }
    let digits: Vec<u8> = body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    // The other white space that the two sides count differently.
    if digits.contains(&0x0b) {
        return None;
    }
    decode_base64(&digits)
}

fn decode_base64(digits: &[u8]) -> Option<Vec<u8>> {
    if digits.is_empty() || !digits.len().is_multiple_of(4) {
        return None;
    }
    let stripped = digits.strip_suffix(b"==").or(digits.strip_suffix(b"=")).unwrap_or(digits);
    let (mut bits, mut count) = (0_u32, 0_u32);
    let mut out = Vec::with_capacity(stripped.len());
    for digit in stripped {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.extend((bits >> count).to_le_bytes().first());
            bits &= (1 << count) - 1;
        }
    }
    // A strict reader refuses spare bits that are not zero.
    (bits == 0).then_some(out)
}

/// The length of the modulus of a `SubjectPublicKeyInfo`.
fn modulus_bytes(der: &[u8]) -> Option<usize> {
    let outer = element(&mut Cursor::new(der), SEQUENCE)?;
    let mut outer = Cursor::new(outer);
    element(&mut outer, SEQUENCE)?;
    let bits = element(&mut outer, BIT_STRING)?;
    let (0, key) = bits.split_first()? else { return None };
    let key = element(&mut Cursor::new(key), SEQUENCE)?;
    let mut key = Cursor::new(key);
    let modulus = element(&mut key, INTEGER)?;
    let exponent = element(&mut key, INTEGER)?;
    let significant = |number: &[u8]| number.len() - number.iter().take_while(|b| **b == 0).count();
    let len = significant(modulus);
    let odd = modulus.last().is_some_and(|byte| byte % 2 == 1);
    (odd && len <= MAX_MODULUS_BYTES && (1..=8).contains(&significant(exponent))).then_some(len)
}

/// The content of a DER element of the given kind.
fn element<'a>(cursor: &mut Cursor<'a>, kind: u8) -> Option<&'a [u8]> {
    if cursor.u8()? != kind {
        return None;
    }
    let first = cursor.u8()?;
    let len = if first & 0x80 == 0 {
        usize::from(first)
    } else {
        let count = usize::from(first & 0x7f);
        if !(1..=4).contains(&count) {
            return None;
        }
        cursor.take(count)?.iter().fold(0, |len, byte| len << 8 | usize::from(*byte))
    };
    cursor.take(len)
}
