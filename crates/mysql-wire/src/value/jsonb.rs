//! MySQL's binary JSON → the text that MySQL prints for it.
//!
//! Objects keep the order in which MySQL stores them (keys by length, then by bytes), floating-point numbers
//! always show that they are some (`1000.0`), and values that JSON has no type for print as MySQL's strings.
//!
//! Why it ends on any input: depth is limited, and each element and each byte of text is paid for from a budget
//! of the document's size, so places that refer to one another cannot multiply the output.

mod diff;

use super::decimal::Packing;
use super::float::write_f64;
use super::temporal::{Moment, write_number, write_time};
use crate::column::code;
use crate::cursor::Cursor;

pub(crate) use diff::apply as apply_differences;

/// MySQL's own limit is 100.
const MAX_DEPTH: u32 = 128;

const SMALL_OBJECT: u8 = 0x00;
const LARGE_OBJECT: u8 = 0x01;
const SMALL_ARRAY: u8 = 0x02;
const LARGE_ARRAY: u8 = 0x03;
const LITERAL: u8 = 0x04;
const INT16: u8 = 0x05;
const UINT16: u8 = 0x06;
const INT32: u8 = 0x07;
const UINT32: u8 = 0x08;
const INT64: u8 = 0x09;
const UINT64: u8 = 0x0a;
const DOUBLE: u8 = 0x0b;
const STRING: u8 = 0x0c;
const OPAQUE: u8 = 0x0f;

/// Appends the text of a document; `None` if it is malformed. An empty document is `null`, as in MySQL.
pub(crate) fn write_json(document: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let Some((kind, value)) = document.split_first() else {
        out.extend_from_slice(b"null");
        return Some(());
    };
    let mut writer = Writer { out, budget: document.len().saturating_mul(2) };
    writer.value(*kind, value, 0)
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    budget: usize,
}

/// How the parts of an object or array are laid out.
#[derive(Clone, Copy)]
struct Layout {
    large: bool,
    object: bool,
}

impl Layout {
    const fn offset_bytes(self) -> usize {
        if self.large { 4 } else { 2 }
    }

    /// An offset, or a value that is small enough to stand in its place.
    fn offset(self, cursor: &mut Cursor<'_>) -> Option<usize> {
        usize::try_from(cursor.uint(self.offset_bytes())?).ok()
    }

    /// Whether a value of this kind stands in the table itself.
    const fn is_inlined(self, kind: u8) -> bool {
        matches!(kind, LITERAL | INT16 | UINT16) || self.large && matches!(kind, INT32 | UINT32)
    }
}

impl Writer<'_> {
    fn spend(&mut self, cost: usize) -> Option<()> {
        self.budget = self.budget.checked_sub(cost)?;
        Some(())
    }

    fn value(&mut self, kind: u8, value: &[u8], depth: u32) -> Option<()> {
        self.spend(1)?;
        if depth > MAX_DEPTH {
            return None;
        }
        let mut cursor = Cursor::new(value);
        match kind {
            SMALL_OBJECT | LARGE_OBJECT => {
                let layout = Layout { large: kind == LARGE_OBJECT, object: true };
                return self.container(layout, value, depth);
            }
            SMALL_ARRAY | LARGE_ARRAY => {
                let layout = Layout { large: kind == LARGE_ARRAY, object: false };
                return self.container(layout, value, depth);
            }
            LITERAL => self.out.extend_from_slice(match cursor.u8()? {
                0 => b"null",
                1 => b"true",
                2 => b"false",
                _ => return None,
            }),
            INT16 => self.signed(i64::from(i16::from_le_bytes(cursor.array()?))),
            INT32 => self.signed(i64::from(i32::from_le_bytes(cursor.array()?))),
            INT64 => self.signed(i64::from_le_bytes(cursor.array()?)),
            UINT16 => write_number(u64::from(cursor.u16()?), 1, self.out),
            UINT32 => write_number(u64::from(cursor.u32()?), 1, self.out),
            UINT64 => write_number(cursor.u64()?, 1, self.out),
            DOUBLE => self.double(f64::from_le_bytes(cursor.array()?)),
            STRING => {
                let text = counted(&mut cursor)?;
                self.quoted(text)?;
            }
            OPAQUE => {
                let type_code = cursor.u8()?;
                let content = counted(&mut cursor)?;
                self.opaque(type_code, content)?;
            }
            _ => return None,
        }
        Some(())
    }

    fn container(&mut self, layout: Layout, bytes: &[u8], depth: u32) -> Option<()> {
        let mut cursor = Cursor::new(bytes);
        let count = layout.offset(&mut cursor)?;
        let size = layout.offset(&mut cursor)?;
        let bytes = bytes.get(..size)?;
        let key_bytes = if layout.object { layout.offset_bytes() + 2 } else { 0 };
        let mut keys = Cursor::new(cursor.take(count.checked_mul(key_bytes)?)?);
        let mut values = Cursor::new(cursor.take(count.checked_mul(1 + layout.offset_bytes())?)?);
        self.out.push(if layout.object { b'{' } else { b'[' });
        for index in 0..count {
            if index > 0 {
                self.out.extend_from_slice(b", ");
            }
            if layout.object {
                let start = layout.offset(&mut keys)?;
                let len = usize::from(keys.u16()?);
                self.quoted(bytes.get(start..start.checked_add(len)?)?)?;
                self.out.extend_from_slice(b": ");
            }
            let kind = values.u8()?;
            let place = values.take(layout.offset_bytes())?;
            if layout.is_inlined(kind) {
                self.value(kind, place, depth + 1)?;
            } else {
                let offset = layout.offset(&mut Cursor::new(place))?;
                self.value(kind, bytes.get(offset..)?, depth + 1)?;
            }
        }
        self.out.push(if layout.object { b'}' } else { b']' });
        Some(())
    }

    fn signed(&mut self, number: i64) {
        if number < 0 {
            self.out.push(b'-');
        }
        write_number(number.unsigned_abs(), 1, self.out);
    }

    fn double(&mut self, number: f64) {
        let start = self.out.len();
        write_f64(number, self.out);
        let written = self.out.get(start..).unwrap_or_default();
        if !written.iter().any(|byte| matches!(byte, b'.' | b'e')) {
            self.out.extend_from_slice(b".0");
        }
    }

    /// A string with its quotes, escaped as MySQL does.
    fn quoted(&mut self, text: &[u8]) -> Option<()> {
        self.spend(text.len())?;
        self.out.push(b'"');
        for byte in text {
            let escaped = match byte {
                b'"' | b'\\' => *byte,
                0x08 => b'b',
                b'\t' => b't',
                b'\n' => b'n',
                0x0c => b'f',
                b'\r' => b'r',
                0x00..=0x1f => {
                    self.out.extend_from_slice(b"\\u00");
                    self.out.extend([hex_digit(byte >> 4), hex_digit(byte & 15)]);
                    continue;
                }
                _ => {
                    self.out.push(*byte);
                    continue;
                }
            };
            self.out.extend([b'\\', escaped]);
        }
        self.out.push(b'"');
        Some(())
    }

    /// A value of a MySQL type that JSON does not have.
    fn opaque(&mut self, type_code: u8, content: &[u8]) -> Option<()> {
        let mut cursor = Cursor::new(content);
        match type_code {
            code::NEWDECIMAL => {
                let packing = Packing::new(cursor.u8()?, cursor.u8()?)?;
                packing.write_text(cursor.rest(), self.out)?;
            }
            code::DATE => {
                let moment = unpack_datetime(cursor.u64()?);
                self.between_quotes(|out| moment.write_date(out));
            }
            code::DATETIME | code::TIMESTAMP => {
                let moment = unpack_datetime(cursor.u64()?);
                self.between_quotes(|out| moment.write_datetime(6, out));
            }
            code::TIME => {
                let micros = unpack_time(i64::from_le_bytes(cursor.array()?));
                self.between_quotes(|out| write_time(micros, 6, out));
            }
            _ => {
                self.spend(content.len())?;
                self.between_quotes(|out| {
                    out.extend_from_slice(b"base64:type");
                    write_number(u64::from(type_code), 1, out);
                    out.push(b':');
                    write_base64(content, out);
                });
            }
        }
        Some(())
    }

    fn between_quotes(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.out.push(b'"');
        write(self.out);
        self.out.push(b'"');
    }
}

const fn hex_digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

/// Bytes behind a length of seven bits a byte.
fn counted<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let mut len = 0_u64;
    for shift in [0, 7, 14, 21, 28] {
        let byte = cursor.u8()?;
        len |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return cursor.take(usize::try_from(len).ok()?);
        }
    }
    None
}

fn unpack_datetime(packed: u64) -> Moment {
    let micros = u32::try_from(packed & 0xff_ffff).unwrap_or(0);
    Moment::unpack(packed >> 24 & 0x7f_ffff_ffff, micros)
}

fn unpack_time(packed: i64) -> i64 {
    let size = packed.unsigned_abs();
    let micros = i64::try_from(size & 0xff_ffff).unwrap_or(0);
    let hms = i64::try_from(size >> 24 & 0xff_ffff).unwrap_or(0);
    let seconds = (hms >> 12 & 0x3ff) * 3_600 + (hms >> 6 & 63) * 60 + (hms & 63);
    let total = seconds * 1_000_000 + micros;
    if packed < 0 { -total } else { total }
}

/// Appends base64 as MySQL does: with a line end, which is escaped, after every 76 characters.
fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    const LINE: usize = 76;
    let mut line = 0;
    for group in bytes.chunks(3) {
        if line == LINE {
            out.extend_from_slice(b"\\n");
            line = 0;
        }
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        for (index, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            out.push(if index <= group.len() { base64_digit(bits >> shift & 63) } else { b'=' });
        }
        line += 4;
    }
}

fn base64_digit(value: u32) -> u8 {
    let value = u8::try_from(value).unwrap_or(0);
    match value {
        0..=25 => b'A' + value,
        26..=51 => b'a' + value - 26,
        52..=61 => b'0' + value - 52,
        62 => b'+',
        _ => b'/',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mysql_common::binlog::jsonb;
    use mysql_common::io::ParseBuf;
    use proptest::prelude::*;

    fn text(document: &[u8]) -> Option<String> {
        let mut out = Vec::new();
        write_json(document, &mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn documents_print_as_in_mysql() {
        // {"b": [1, true, null], "aa": "x\"\n"}
        let document = [
            &[0x00, 2, 0, 45, 0][..],
            &[18, 0, 1, 0, 19, 0, 2, 0],
            &[0x02, 21, 0, 0x0c, 38, 0],
            b"baa",
            &[3, 0, 17, 0, 0x05, 1, 0, 0x04, 1, 0, 0x04, 0, 0, 0, 0, 0, 0],
            &[3, b'x', b'"', b'\n', 0, 0, 0],
        ]
        .concat();
        assert_eq!(text(&document).unwrap(), r#"{"b": [1, true, null], "aa": "x\"\n"}"#);
    }

    #[test]
    fn scalars_print_as_in_mysql() {
        let opaque = |type_code: u8, content: &[u8]| {
            [&[OPAQUE, type_code, u8::try_from(content.len()).unwrap()], content].concat()
        };
        let date = (((2015_u64 * 13 + 1) << 5 | 15) << 17) << 24;
        let time_of_day: u64 = (23 << 12 | 24 << 6 | 25) << 24 | 120_000;
        for (document, expected) in [
            (vec![], "null"),
            (vec![LITERAL, 2], "false"),
            (vec![INT16, 0xfe, 0xff], "-2"),
            ([&[UINT64][..], &u64::MAX.to_le_bytes()].concat(), "18446744073709551615"),
            ([&[DOUBLE][..], &1000_f64.to_le_bytes()].concat(), "1000.0"),
            ([&[DOUBLE][..], &1e20_f64.to_le_bytes()].concat(), "1e20"),
            (vec![STRING, 2, 1, b'a'], r#""\u0001a""#),
            (opaque(code::NEWDECIMAL, &[3, 2, 0x81, 0x32]), "1.50"),
            (opaque(code::DATE, &date.to_le_bytes()), r#""2015-01-15""#),
            (
                opaque(code::DATETIME, &(date | time_of_day).to_le_bytes()),
                r#""2015-01-15 23:24:25.120000""#,
            ),
            (opaque(code::TIME, &time_of_day.to_le_bytes()), r#""23:24:25.120000""#),
            (opaque(15, b"abcd"), r#""base64:type15:YWJjZA==""#),
        ] {
            assert_eq!(text(&document).as_deref(), Some(expected));
        }
    }

    #[test]
    fn places_that_refer_to_themselves_end() {
        // An array of two arrays that both are the array itself.
        let document = [SMALL_ARRAY, 2, 0, 10, 0, SMALL_ARRAY, 0, 0, SMALL_ARRAY, 0, 0];
        assert_eq!(text(&document), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_document_or_none(kind in 0_u8..16, bytes in prop::collection::vec(0_u8..40, 0..60)) {
            let document = [&[kind], &bytes[..]].concat();
            let mut out = Vec::new();
            let _written = write_json(&document, &mut out);
        }

        #[test]
        fn documents_equal_those_of_mysql_common(numbers in prop::collection::vec(any::<i16>(), 0..40)) {
            // A small array of small integers, encoded by hand and read by both.
            let count = u16::try_from(numbers.len()).unwrap();
            let size = 4 + 3 * count;
            let mut document = vec![SMALL_ARRAY];
            document.extend(count.to_le_bytes());
            document.extend(size.to_le_bytes());
            for number in &numbers {
                document.push(INT16);
                document.extend(number.to_le_bytes());
            }
            let theirs: jsonb::Value<'_> = ParseBuf(&document).parse(()).unwrap();
            let theirs = format!("{theirs:?}").replace("Ok(", "").replace(')', "");
            prop_assert_eq!(text(&document).unwrap(), theirs);
        }
    }
}
