//! UUIDs and network addresses of MariaDB → the text that MariaDB prints for them.
//!
//! In row events they are plain bytes in the order of the text; zero bytes at their end are left out.

/// Which kind of address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Uuid,
    Inet4,
    Inet6,
}

/// Appends the text; `None` if there are too many bytes.
pub(crate) fn write_address(kind: Address, bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match kind {
        Address::Inet4 => write_dotted(&padded::<4>(bytes)?, out),
        Address::Inet6 => write_inet6(&padded(bytes)?, out),
        Address::Uuid => {
            for (index, byte) in padded::<16>(bytes)?.into_iter().enumerate() {
                if matches!(index, 4 | 6 | 8 | 10) {
                    out.push(b'-');
                }
                out.extend([hex_digit(byte >> 4), hex_digit(byte & 15)]);
            }
        }
    }
    Some(())
}

fn padded<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let mut all = [0; N];
    all.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(all)
}

const fn hex_digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

fn write_dotted(bytes: &[u8], out: &mut Vec<u8>) {
    let text: Vec<String> = bytes.iter().map(ToString::to_string).collect();
    out.extend_from_slice(text.join(".").as_bytes());
}

/// Unlike RFC 5952, a single zero word is left out too, and an address that begins with six zero words ends as an
/// address of version 4.
fn write_inet6(bytes: &[u8; 16], out: &mut Vec<u8>) {
    const WORDS: usize = 8;
    let (pairs, _) = bytes.as_chunks::<2>();
    let words: Vec<u16> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
    let word = |index: usize| words.get(index).copied().unwrap_or(0);
    let gap = longest_gap(&words);
    let mut index = 0;
    while index < WORDS {
        if gap.is_some_and(|(start, _)| start == index) {
            out.extend_from_slice(if index == 0 { b"::" } else { b":" });
            index += gap.map_or(1, |(_, len)| len);
            continue;
        }
        let holds_inet4 = gap == Some((0, 6)) || gap == Some((0, 5)) && word(5) == 0xffff;
        if index == 6 && holds_inet4 {
            write_dotted(bytes.get(12..).unwrap_or_default(), out);
            return;
        }
        out.extend_from_slice(format!("{:x}", word(index)).as_bytes());
        index += 1;
        if index < WORDS {
            out.push(b':');
        }
    }
}

/// The first of the longest runs of zero words: where it begins, and how long it is.
fn longest_gap(words: &[u16]) -> Option<(usize, usize)> {
    let mut longest: Option<(usize, usize)> = None;
    let mut start = 0;
    for run in words.chunk_by(|left, right| (*left == 0) == (*right == 0)) {
        if run.first() == Some(&0) && longest.is_none_or(|(_, len)| run.len() > len) {
            longest = Some((start, run.len()));
        }
        start += run.len();
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(kind: Address, bytes: &[u8]) -> String {
        let mut out = Vec::new();
        write_address(kind, bytes, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn addresses_print_as_in_mariadb() {
        let words =
            |words: [u16; 8]| words.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<_>>();
        for (expected, bytes) in [
            ("::", words([0; 8])),
            ("::1", words([0, 0, 0, 0, 0, 0, 0, 1])),
            ("::1.2.3.4", words([0, 0, 0, 0, 0, 0, 0x102, 0x304])),
            ("::ffff:1.2.3.4", words([0, 0, 0, 0, 0, 0xffff, 0x102, 0x304])),
            ("2001:db8::ff00:42:8329", words([0x2001, 0xdb8, 0, 0, 0, 0xff00, 0x42, 0x8329])),
            ("1::2:3:4:5:6:7", words([1, 0, 2, 3, 4, 5, 6, 7])),
            ("1:0:2::3:4:5", words([1, 0, 2, 0, 0, 3, 4, 5])),
            ("a::", vec![0, 10]),
        ] {
            assert_eq!(text(Address::Inet6, &bytes), expected);
        }
        assert_eq!(text(Address::Inet4, &[10]), "10.0.0.0");
        let uuid = [0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x12, 0xd3, 0xa4, 0x56, 0x42, 0x66];
        assert_eq!(text(Address::Uuid, &uuid), "123e4567-e89b-12d3-a456-426600000000");
        assert_eq!(write_address(Address::Inet4, &[0; 5], &mut Vec::new()), None);
    }
}
