//! Digests and other encodings of text and bytes.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, Int32Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use datafusion::common::{Result, exec_err};
use md5::Md5;
use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};

use super::Parameter::{Any, Bytes, Int, Text};
use super::{Arguments, Definition, Returns, is_binary};

pub(super) fn definitions() -> Vec<Definition> {
    vec![
        Definition::new("md5", &[Bytes], Returns::Text, |a| digest(a, |b| hex(&Md5::digest(b)))),
        Definition::new("sha1", &[Bytes], Returns::Text, |a| digest(a, sha1_hex)),
        Definition::new("sha224", &[Bytes], Returns::Text, |a| digest(a, sha224_hex)),
        Definition::new("sha256", &[Bytes], Returns::Text, |a| digest(a, sha256_hex)),
        Definition::new("sha384", &[Bytes], Returns::Text, |a| digest(a, sha384_hex)),
        Definition::new("sha512", &[Bytes], Returns::Text, |a| digest(a, sha512_hex)),
        Definition::new("sha2", &[Bytes, Int], Returns::Text, sha2),
        Definition::new("hex", &[Any], Returns::Text, hex_of),
        Definition::new("unhex", &[Text], Returns::Bytes, unhex),
        Definition::new("to_base64", &[Bytes], Returns::Text, |a| {
            digest(a, |bytes| STANDARD.encode(bytes))
        }),
        Definition::new("from_base64", &[Text], Returns::Text, from_base64),
        Definition::new("encode", &[Text, Text], Returns::Bytes, encode),
        Definition::new("decode", &[Bytes, Text], Returns::Text, decode),
        Definition::new("octet_length", &[Bytes], Returns::Int, octet_length),
        Definition::new("bit_length", &[Bytes], Returns::BigInt, bit_length),
    ]
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _: std::fmt::Result = write!(text, "{byte:02x}");
        text
    })
}

fn sha1_hex(bytes: &[u8]) -> String {
    use sha1::Digest as _;
    hex(&sha1::Sha1::digest(bytes))
}

fn sha224_hex(bytes: &[u8]) -> String {
    hex(&Sha224::digest(bytes))
}

/// The SHA-256 digest in hexadecimal digits.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn sha384_hex(bytes: &[u8]) -> String {
    hex(&Sha384::digest(bytes))
}

fn sha512_hex(bytes: &[u8]) -> String {
    hex(&Sha512::digest(bytes))
}

fn digest(arguments: &Arguments<'_>, of: impl Fn(&[u8]) -> String) -> Result<ArrayRef> {
    let bytes = arguments.bytes(0)?;
    arguments.each_text(|row| Ok(Some(of(bytes.value(row)))))
}

fn sha2(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (bytes, bits) = (arguments.bytes(0)?, arguments.int(1)?);
    arguments.each_text(|row| {
        let bytes = bytes.value(row);
        Ok(Some(match bits.value(row) {
            224 => sha224_hex(bytes),
            0 | 256 => sha256_hex(bytes),
            384 => sha384_hex(bytes),
            512 => sha512_hex(bytes),
            other => return exec_err!("SHA2 has no length {other}; use 224, 256, 384 or 512"),
        }))
    })
}

/// Of a number its hexadecimal digits, of text those of its bytes; in upper case.
fn hex_of(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let column = arguments.any(0)?;
    if column.data_type().is_numeric() {
        let numbers = cast(column, &DataType::Int64)?;
        let numbers = numbers.as_primitive::<Int64Type>();
        return arguments.each_text(|row| Ok(Some(format!("{:X}", numbers.value(row)))));
    }
    if !column.data_type().is_string() && !is_binary(column.data_type()) {
        return exec_err!("HEX takes a whole number, text or bytes");
    }
    let bytes = cast(column, &DataType::Binary)?;
    let bytes = bytes.as_binary::<i32>();
    arguments.each_text(|row| Ok(Some(hex(bytes.value(row)).to_uppercase())))
}

/// NULL where the text is not hexadecimal.
fn unhex(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let text = arguments.text(0)?;
    arguments.each::<Vec<u8>, BinaryArray>(|row| Ok(bytes_of_hex(text.value(row))))
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let padded = if text.len() % 2 == 1 { format!("0{text}") } else { text.to_owned() };
    padded
        .as_bytes()
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).ok()?;
            let digits = pair.bytes().all(|digit| digit.is_ascii_hexdigit());
            if digits { u8::from_str_radix(pair, 16).ok() } else { None }
        })
        .collect()
}

/// NULL where the text is no Base64 of UTF-8 text.
fn from_base64(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let text = arguments.text(0)?;
    arguments.each_text(|row| {
        let bytes = STANDARD.decode(text.value(row)).ok();
        Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()))
    })
}

fn check_charset(name: &str) -> Result<()> {
    if ["utf-8", "utf8", "us-ascii"].contains(&name.to_ascii_lowercase().as_str()) {
        Ok(())
    } else {
        exec_err!("the character set '{name}' is not supported; use 'UTF-8'")
    }
}

fn encode(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (text, charset) = (arguments.text(0)?, arguments.text(1)?);
    arguments.each::<Vec<u8>, BinaryArray>(|row| {
        check_charset(charset.value(row))?;
        Ok(Some(text.value(row).as_bytes().to_vec()))
    })
}

fn decode(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (bytes, charset) = (arguments.bytes(0)?, arguments.text(1)?);
    arguments.each_text(|row| {
        check_charset(charset.value(row))?;
        Ok(Some(String::from_utf8_lossy(bytes.value(row)).into_owned()))
    })
}

fn octet_length(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let lengths: Int32Array =
        arguments.bytes(0)?.iter().map(|b| b.and_then(|b| i32::try_from(b.len()).ok())).collect();
    Ok(Arc::new(lengths))
}

fn bit_length(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let lengths: Int64Array = arguments
        .bytes(0)?
        .iter()
        .map(|b| b.and_then(|b| i64::try_from(b.len()).ok()).map(|bytes| bytes * 8))
        .collect();
    Ok(Arc::new(lengths))
}
