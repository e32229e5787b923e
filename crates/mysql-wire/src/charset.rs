//! MySQL's character sets → UTF-8.
//!
//! Bytes that mean nothing in their character set become `?`, as they do when MySQL converts them for a
//! `SELECT`; so both ways of reading a row agree.

use encoding_rs::{DecoderResult, Encoding};
use mysql_common::collations::{Collation, CollationId};

/// A character set of MySQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charset {
    name: &'static str,
    codec: Codec,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    Binary,
    Utf8,
    Table(&'static Encoding),
    /// A table whose bytes 0x80 to 0x9f are control characters, which the web's encodings replace.
    TableWithControls(&'static Encoding),
    Utf16 {
        big_endian: bool,
    },
    Utf32,
    Unsupported,
}

macro_rules! charsets {
    ($($name:literal => $codec:expr,)*) => {
        const CHARSETS: &[Charset] = &[$(Charset { name: $name, codec: $codec },)*];
    };
}

charsets! {
    "binary" => Codec::Binary,
    "utf8mb4" => Codec::Utf8,
    "utf8mb3" => Codec::Utf8,
    "utf8" => Codec::Utf8,
    "ascii" => Codec::Utf8,
    "latin1" => Codec::Table(encoding_rs::WINDOWS_1252),
    "latin2" => Codec::Table(encoding_rs::ISO_8859_2),
    "latin5" => Codec::TableWithControls(encoding_rs::WINDOWS_1254),
    "latin7" => Codec::Table(encoding_rs::ISO_8859_13),
    "greek" => Codec::Table(encoding_rs::ISO_8859_7),
    "hebrew" => Codec::Table(encoding_rs::ISO_8859_8),
    "tis620" => Codec::TableWithControls(encoding_rs::WINDOWS_874),
    "cp1250" => Codec::Table(encoding_rs::WINDOWS_1250),
    "cp1251" => Codec::Table(encoding_rs::WINDOWS_1251),
    "cp1256" => Codec::Table(encoding_rs::WINDOWS_1256),
    "cp1257" => Codec::Table(encoding_rs::WINDOWS_1257),
    "cp866" => Codec::Table(encoding_rs::IBM866),
    "koi8r" => Codec::Table(encoding_rs::KOI8_R),
    "koi8u" => Codec::Table(encoding_rs::KOI8_U),
    "macroman" => Codec::Table(encoding_rs::MACINTOSH),
    "gbk" => Codec::Table(encoding_rs::GBK),
    "gb2312" => Codec::Table(encoding_rs::GBK),
    "gb18030" => Codec::Table(encoding_rs::GB18030),
    "big5" => Codec::Table(encoding_rs::BIG5),
    "euckr" => Codec::Table(encoding_rs::EUC_KR),
    "sjis" => Codec::Table(encoding_rs::SHIFT_JIS),
    "cp932" => Codec::Table(encoding_rs::SHIFT_JIS),
    "ujis" => Codec::Table(encoding_rs::EUC_JP),
    "eucjpms" => Codec::Table(encoding_rs::EUC_JP),
    "ucs2" => Codec::Utf16 { big_endian: true },
    "utf16" => Codec::Utf16 { big_endian: true },
    "utf16le" => Codec::Utf16 { big_endian: false },
    "utf32" => Codec::Utf32,
    "cp850" => Codec::Unsupported,
    "cp852" => Codec::Unsupported,
    "dec8" => Codec::Unsupported,
    "hp8" => Codec::Unsupported,
    "swe7" => Codec::Unsupported,
    "keybcs2" => Codec::Unsupported,
    "macce" => Codec::Unsupported,
    "armscii8" => Codec::Unsupported,
    "geostd8" => Codec::Unsupported,
}

/// A character set that this list does not have.
const UNKNOWN: Charset = Charset { name: "unknown", codec: Codec::Unsupported };

impl Charset {
    /// `binary`: no text.
    pub const BINARY: Self = Self { name: "binary", codec: Codec::Binary };
    /// `utf8mb4`.
    pub const UTF8: Self = Self { name: "utf8mb4", codec: Codec::Utf8 };

    /// The character set of this name; an unknown one is not supported.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let known = CHARSETS.iter().find(|charset| charset.name.eq_ignore_ascii_case(name));
        known.copied().unwrap_or(UNKNOWN)
    }

    /// The character set of a collation's number.
    #[must_use]
    pub fn of_collation(id: u16) -> Self {
        Self::named(Collation::resolve(CollationId::from(id)).charset())
    }

    /// Its name in MySQL.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Whether it is `binary`.
    #[must_use]
    pub fn is_binary(self) -> bool {
        self.codec == Codec::Binary
    }

    /// Whether text of it can be converted.
    #[must_use]
    pub fn is_supported(self) -> bool {
        self.codec != Codec::Unsupported
    }

    /// Whether its bytes are UTF-8 as they are (`binary` claims it, and is checked).
    #[must_use]
    pub fn is_utf8(self) -> bool {
        matches!(self.codec, Codec::Utf8 | Codec::Binary)
    }

    /// Appends `bytes` as UTF-8; returns whether some were replaced by `?`. Text of a UTF-8 character set is
    /// appended unchecked.
    pub fn decode_into(self, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        match self.codec {
            Codec::Binary | Codec::Utf8 | Codec::Unsupported => {
                out.extend_from_slice(bytes);
                false
            }
            Codec::Table(_) | Codec::TableWithControls(_) if bytes.is_ascii() => {
                out.extend_from_slice(bytes);
                false
            }
            Codec::Table(encoding) => decode_table(encoding, bytes, out),
            Codec::TableWithControls(encoding) => {
                let mut replaced = false;
                for byte in bytes {
                    if matches!(byte, 0x80..=0x9f) {
                        push(char::from(*byte), out);
                    } else {
                        replaced |= decode_table(encoding, &[*byte], out);
                    }
                }
                replaced
            }
            Codec::Utf16 { big_endian } => decode_utf16(bytes, big_endian, out),
            Codec::Utf32 => decode_utf32(bytes, out),
        }
    }

    /// `bytes` as a string, with U+FFFD for what is no text.
    #[must_use]
    pub fn to_text(self, bytes: &[u8]) -> String {
        let mut out = Vec::with_capacity(bytes.len());
        self.decode_into(bytes, &mut out);
        String::from_utf8(out)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }
}

fn push(character: char, out: &mut Vec<u8>) {
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

fn decode_table(encoding: &'static Encoding, bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut rest = bytes;
    let mut replaced = false;
    loop {
        let start = out.len();
        let most = decoder.max_utf8_buffer_length_without_replacement(rest.len());
        out.resize(start + most.unwrap_or(rest.len().saturating_mul(4)).saturating_add(4), 0);
        let free = out.get_mut(start..).unwrap_or_default();
        let (result, read, written) = decoder.decode_to_utf8_without_replacement(rest, free, true);
        out.truncate(start + written);
        rest = rest.get(read..).unwrap_or_default();
        match result {
            DecoderResult::InputEmpty => return replaced,
            DecoderResult::Malformed(..) => {
                out.push(b'?');
                replaced = true;
            }
            DecoderResult::OutputFull => {}
        }
    }
}

fn decode_utf16(bytes: &[u8], big_endian: bool, out: &mut Vec<u8>) -> bool {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let units = pairs
        .iter()
        .map(|pair| if big_endian { u16::from_be_bytes(*pair) } else { u16::from_le_bytes(*pair) });
    let mut replaced = !odd.is_empty();
    for unit in char::decode_utf16(units) {
        replaced |= unit.is_err();
        push(unit.unwrap_or('?'), out);
    }
    if !odd.is_empty() {
        out.push(b'?');
    }
    replaced
}

fn decode_utf32(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let (units, odd) = bytes.as_chunks::<4>();
    let mut replaced = !odd.is_empty();
    for unit in units {
        let character = char::from_u32(u32::from_be_bytes(*unit));
        replaced |= character.is_none();
        push(character.unwrap_or('?'), out);
    }
    if !odd.is_empty() {
        out.push(b'?');
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(name: &str, bytes: &[u8]) -> String {
        Charset::named(name).to_text(bytes)
    }

    #[test]
    fn text_is_converted_as_mysql_does() {
        for (name, bytes, expected) in [
            ("utf8mb4", "Grüße 😀".as_bytes(), "Grüße 😀"),
            ("latin1", b"\x80uro \xfc\x81", "€uro ü\u{81}"),
            ("gbk", b"\xc4\xe3\xba\xc3", "你好"),
            ("gb18030", b"\xc4\xe3\x94\x39\xda\x33", "你💩"),
            ("big5", b"\xa7\x41\xa6\x6e", "你好"),
            ("sjis", b"\x83\x65\x83\x58\x83\x67", "テスト"),
            ("ujis", b"\xa5\xc6\xa5\xb9\xa5\xc8", "テスト"),
            ("euckr", b"\xc7\xd1\xb1\xdb", "한글"),
            ("cp1251", b"\xcf\xf0\xe8\xe2\xe5\xf2", "Привет"),
            ("koi8r", b"\xf0\xd2\xc9\xd7\xc5\xd4", "Привет"),
            ("cp866", b"\x8f\xe0\xa8\xa2\xa5\xe2", "Привет"),
            ("latin5", b"\xf0\x85", "ğ\u{85}"),
            ("utf16", b"\x00a\xd8\x3d\xde\x00", "a😀"),
            ("utf16le", b"a\x00\x3d\xd8\x00\xde", "a😀"),
            ("ucs2", b"\x00\xfc", "ü"),
            ("utf32", b"\x00\x01\xf6\x00", "😀"),
            ("gbk", b"a\xc4", "a?"),
            ("utf16", b"\xd8\x3d\x00a", "?a"),
        ] {
            assert_eq!(text(name, bytes), expected, "{name}");
        }
    }

    #[test]
    fn collations_name_their_character_sets() {
        for (id, name) in [
            (8, "latin1"),
            (28, "gbk"),
            (33, "utf8mb3"),
            (45, "utf8mb4"),
            (63, "binary"),
            (255, "utf8mb4"),
            (309, "utf8mb4"),
            (54, "utf16"),
            (60, "utf32"),
            (248, "gb18030"),
            (4, "cp850"),
            (65_000, "unknown"),
        ] {
            assert_eq!(Charset::of_collation(id).name(), name, "collation {id}");
        }
        assert!(!Charset::named("cp850").is_supported());
    }

    proptest! {
        #[test]
        fn what_is_converted_is_utf8(bytes: Vec<u8>) {
            for charset in CHARSETS.iter().filter(|charset| !charset.is_utf8() && charset.is_supported()) {
                let mut out = Vec::new();
                charset.decode_into(&bytes, &mut out);
                prop_assert!(std::str::from_utf8(&out).is_ok(), "{}", charset.name());
            }
        }
    }
}
