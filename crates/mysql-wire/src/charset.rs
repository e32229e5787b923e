//! MySQL's character sets → UTF-8.
//!
//! Bytes that mean nothing in their character set become `?`, as they do when MySQL converts them for a
//! `SELECT`; so both ways of reading a row agree.

mod tables;

use encoding_rs::{DecoderResult, Encoding};
use mysql_common::collations::{Collation, CollationId};

use tables::{Exceptions, Upper};

/// A character set of MySQL.
#[derive(Clone, Copy, Debug)]
pub struct Charset {
    name: &'static str,
    codec: Codec,
}

#[derive(Clone, Copy, Debug)]
enum Codec {
    Binary,
    Utf8,
    /// ASCII and a table for the upper half.
    OneByte(&'static Upper),
    /// Seven bits, some of which are not ASCII.
    Swedish,
    /// As the library reads it.
    Library(&'static Encoding),
    /// As the library reads it, but for some characters.
    Corrected(&'static Encoding, Shape, &'static Exceptions),
    Utf16 {
        big_endian: bool,
    },
    Utf32,
    Unknown,
}

/// How many bytes a character has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Double,
    Sjis,
    Gb18030,
    /// Two, or three behind 0x8f; with rows for the user's own characters.
    Euc,
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
    "latin1" => Codec::OneByte(&tables::LATIN1),
    "latin2" => Codec::OneByte(&tables::LATIN2),
    "latin5" => Codec::OneByte(&tables::LATIN5),
    "latin7" => Codec::OneByte(&tables::LATIN7),
    "greek" => Codec::OneByte(&tables::GREEK),
    "hebrew" => Codec::OneByte(&tables::HEBREW),
    "tis620" => Codec::OneByte(&tables::TIS620),
    "cp1250" => Codec::OneByte(&tables::CP1250),
    "cp1251" => Codec::OneByte(&tables::CP1251),
    "cp1256" => Codec::OneByte(&tables::CP1256),
    "cp1257" => Codec::OneByte(&tables::CP1257),
    "cp850" => Codec::OneByte(&tables::CP850),
    "cp852" => Codec::OneByte(&tables::CP852),
    "cp866" => Codec::OneByte(&tables::CP866),
    "koi8r" => Codec::OneByte(&tables::KOI8R),
    "koi8u" => Codec::OneByte(&tables::KOI8U),
    "macroman" => Codec::OneByte(&tables::MACROMAN),
    "macce" => Codec::OneByte(&tables::MACCE),
    "dec8" => Codec::OneByte(&tables::DEC8),
    "hp8" => Codec::OneByte(&tables::HP8),
    "keybcs2" => Codec::OneByte(&tables::KEYBCS2),
    "armscii8" => Codec::OneByte(&tables::ARMSCII8),
    "geostd8" => Codec::OneByte(&tables::GEOSTD8),
    "swe7" => Codec::Swedish,
    "gbk" => Codec::Library(encoding_rs::GBK),
    "gb2312" => Codec::Corrected(encoding_rs::GBK, Shape::Double, &tables::GB2312),
    "gb18030" => Codec::Corrected(encoding_rs::GB18030, Shape::Gb18030, &tables::GB18030),
    "big5" => Codec::Corrected(encoding_rs::BIG5, Shape::Double, &tables::BIG5),
    "euckr" => Codec::Library(encoding_rs::EUC_KR),
    "sjis" => Codec::Corrected(encoding_rs::SHIFT_JIS, Shape::Sjis, &tables::SJIS),
    "cp932" => Codec::Library(encoding_rs::SHIFT_JIS),
    "ujis" => Codec::Corrected(encoding_rs::EUC_JP, Shape::Euc, &tables::UJIS),
    "eucjpms" => Codec::Corrected(encoding_rs::EUC_JP, Shape::Euc, &tables::EUCJPMS),
    "ucs2" => Codec::Utf16 { big_endian: true },
    "utf16" => Codec::Utf16 { big_endian: true },
    "utf16le" => Codec::Utf16 { big_endian: false },
    "utf32" => Codec::Utf32,
}

/// A character set that this list does not have.
const UNKNOWN: Charset = Charset { name: "unknown", codec: Codec::Unknown };

impl PartialEq for Charset {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Charset {}

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
        let known = Self::named(Collation::resolve(CollationId::from(id)).charset());
        if known.is_supported() { known } else { Self::of_mariadb_collation(id) }
    }

    /// MariaDB numbers its own collations by rules.
    fn of_mariadb_collation(id: u16) -> Self {
        /// Collations that do not ignore spaces at the end are numbered after those that do.
        const NO_PAD: u16 = 1_024;
        /// The collations of Unicode 14.
        const UCA_1400: u16 = 2_048;
        const WIDE: [&str; 5] = ["utf8mb3", "utf8mb4", "ucs2", "utf16", "utf32"];
        let index = match id {
            UCA_1400.. => usize::from((id - UCA_1400) >> 8),
            NO_PAD.. => return Self::of_collation(id - NO_PAD),
            576..=607 => 0,
            608..=639 => 1,
            640..=671 => 2,
            672..=703 => 3,
            736..=767 => 4,
            _ => return UNKNOWN,
        };
        WIDE.get(index).map_or(UNKNOWN, |name| Self::named(name))
    }

    /// Its name in MySQL.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Whether it is `binary`.
    #[must_use]
    pub const fn is_binary(self) -> bool {
        matches!(self.codec, Codec::Binary)
    }

    /// Whether text of it can be converted.
    #[must_use]
    pub const fn is_supported(self) -> bool {
        !matches!(self.codec, Codec::Unknown)
    }

    /// Whether its bytes are UTF-8 as they are (`binary` claims it, and is checked).
    #[must_use]
    pub const fn is_utf8(self) -> bool {
        matches!(self.codec, Codec::Utf8 | Codec::Binary)
    }

    /// Appends `bytes` as UTF-8; returns whether some were replaced by `?`. Text of a UTF-8 character set is
    /// appended unchecked.
    pub fn decode_into(self, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        match self.codec {
            Codec::Binary | Codec::Utf8 | Codec::Unknown => {
                out.extend_from_slice(bytes);
                false
            }
            Codec::Swedish => decode_swedish(bytes, out),
            Codec::Utf16 { big_endian } => decode_utf16(bytes, big_endian, out),
            Codec::Utf32 => decode_utf32(bytes, out),
            // The others agree with ASCII.
            Codec::OneByte(_) | Codec::Library(_) | Codec::Corrected(..) if bytes.is_ascii() => {
                out.extend_from_slice(bytes);
                false
            }
            Codec::OneByte(upper) => decode_one_byte(upper, bytes, out),
            Codec::Library(encoding) => decode_library(encoding, bytes, out),
            Codec::Corrected(encoding, shape, exceptions) => {
                decode_corrected(encoding, shape, exceptions, bytes, out)
            }
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

/// Text of a library's encoding, `?` for what is none.
fn decode_library(encoding: &'static Encoding, bytes: &[u8], out: &mut Vec<u8>) -> bool {
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

/// A character that may be missing: `?` then.
fn push_known(character: Option<char>, out: &mut Vec<u8>) -> bool {
    push(character.unwrap_or('?'), out);
    character.is_none()
}

fn decode_one_byte(upper: &Upper, bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let mut replaced = false;
    for byte in bytes {
        match byte.checked_sub(0x80) {
            None => out.push(*byte),
            Some(index) => {
                let character = upper.get(usize::from(index)).copied();
                replaced |= push_known(character.filter(|character| *character != '\0'), out);
            }
        }
    }
    replaced
}

fn decode_swedish(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let mut replaced = false;
    for byte in bytes {
        let special = tables::SWE7.iter().find(|(special, _)| special == byte);
        let character = match special {
            Some((_, character)) => Some(*character),
            None => {
                Some(char::from(*byte)).filter(|character| *byte < 0x7f && character.is_ascii())
            }
        };
        replaced |= push_known(character, out);
    }
    replaced
}

impl Shape {
    /// The length of the character at the front; never 0 if there is one.
    fn character_len(self, bytes: &[u8]) -> usize {
        let len = match (self, bytes) {
            (_, [0x00..0x80, ..]) | (Self::Sjis, [0xa1..0xe0, ..]) => 1,
            (Self::Gb18030, [_, b'0'..=b'9', ..]) => 4,
            (Self::Euc, [0x8f, ..]) => 3,
            _ => 2,
        };
        len.min(bytes.len())
    }

    /// A character of the rows that are left to the user.
    fn user_defined(self, character: &[u8]) -> Option<char> {
        const FIRST: u32 = 0xe000;
        const ROWS: u32 = 10;
        const CELLS: u32 = 94;
        let (start, row, cell) = match (self, character) {
            (Self::Euc, [row @ 0xf5..=0xfe, cell @ 0xa1..=0xfe]) => (FIRST, row, cell),
            (Self::Euc, [0x8f, row @ 0xf5..=0xfe, cell @ 0xa1..=0xfe]) => {
                (FIRST + ROWS * CELLS, row, cell)
            }
            _ => return None,
        };
        char::from_u32(start + u32::from(row - 0xf5) * CELLS + u32::from(cell - 0xa1))
    }
}

fn decode_corrected(
    encoding: &'static Encoding,
    shape: Shape,
    exceptions: &Exceptions,
    bytes: &[u8],
    out: &mut Vec<u8>,
) -> bool {
    let mut replaced = false;
    // `plain` are characters that the library reads rightly, from the last exception on.
    let (mut plain, mut rest) = (0, bytes);
    let mut start = bytes;
    while !rest.is_empty() {
        let (character, later) = rest.split_at(shape.character_len(rest).max(1));
        let number = character.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        let found = exceptions.binary_search_by_key(&number, |(bytes, _)| *bytes);
        let exception = found.ok().and_then(|index| exceptions.get(index));
        let exception =
            exception.map(|(_, character)| *character).or_else(|| shape.user_defined(character));
        rest = later;
        match exception {
            None => plain += character.len(),
            Some(character) => {
                replaced |= decode_library(encoding, start.get(..plain).unwrap_or_default(), out);
                push(character, out);
                (plain, start) = (0, rest);
            }
        }
    }
    replaced | decode_library(encoding, start, out)
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
            ("cp850", b"\x81 \x9b", "ü ø"),
            ("swe7", b"}[]`~", "åÄÅéü"),
            ("sjis", b"a\x81\x5f\x83\x65\xb1", "a\\テｱ"),
            ("big5", b"\xc8\x40a\xa7\x41", "Лa你"),
            ("gb18030", b"\xa6\xd9\xc4\xe3", "\u{e78d}你"),
            ("eucjpms", b"\x8f\xf3\xf3\xf5\xa1\xa5\xc6", "ⅰ\u{e000}テ"),
            ("cp1257", b"a\x81", "a?"),
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
            // Of MariaDB.
            (1_032, "latin1"),
            (1_111, "gbk"),
            (1_122, "eucjpms"),
            (1_152, "ucs2"),
            (577, "utf8mb3"),
            (610, "utf8mb4"),
            (673, "utf16"),
            (737, "utf32"),
            (2_048, "utf8mb3"),
            (2_304, "utf8mb4"),
            (3_072, "utf32"),
        ] {
            assert_eq!(Charset::of_collation(id).name(), name, "collation {id}");
        }
        assert!(!Charset::of_collation(65_000).is_supported());
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
