//! DECIMAL: MySQL's packed form, its text, and rescaling.
//!
//! Packed: digits in groups of nine, big-endian, four bytes a group and fewer for a partial group at either
//! end; the first bit is flipped, and all bits are flipped if the number is negative.

const GROUP_DIGITS: usize = 9;
const GROUP: u32 = 1_000_000_000;
const PARTIAL_BYTES: [u8; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];
/// The largest packed number: 65 digits, 30 of them behind the point.
const MAX_PACKED_BYTES: usize = 40;
/// Digits, point, sign and a leading zero.
pub(crate) const MAX_TEXT_BYTES: usize = 96;

/// The digits of a DECIMAL and how they are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packing {
    /// Digits in the first, partial group before the point.
    head_digits: u8,
    /// Whole groups before the point.
    int_groups: u8,
    /// Whole groups behind the point.
    frac_groups: u8,
    /// Digits in the last, partial group.
    tail_digits: u8,
    /// Bytes in all.
    pub(crate) bytes: u8,
    pub(crate) precision: u8,
    pub(crate) scale: u8,
}

impl Packing {
    /// The packing of `DECIMAL(precision, scale)`, or `None` if there is no such type.
    pub(crate) fn new(precision: u8, scale: u8) -> Option<Self> {
        if precision == 0 || precision > 81 || scale > precision {
            return None;
        }
        let group = u8::try_from(GROUP_DIGITS).ok()?;
        let int = precision - scale;
        let (head_digits, int_groups) = (int % group, int / group);
        let (tail_digits, frac_groups) = (scale % group, scale / group);
        let partial = |digits: u8| PARTIAL_BYTES.get(usize::from(digits)).copied();
        let bytes = partial(head_digits)? + partial(tail_digits)? + 4 * (int_groups + frac_groups);
        if usize::from(bytes) > MAX_PACKED_BYTES {
            return None;
        }
        Some(Self { head_digits, int_groups, frac_groups, tail_digits, bytes, precision, scale })
    }

    /// Calls `each` with every group: its value and its number of digits, and returns whether the number is
    /// negative. `None` if the bytes are no DECIMAL of this packing.
    #[inline]
    fn groups(&self, packed: &[u8], mut each: impl FnMut(u32, u8)) -> Option<bool> {
        let mut bytes = [0_u8; MAX_PACKED_BYTES];
        let len = usize::from(self.bytes);
        let bytes = bytes.get_mut(..len)?;
        if packed.len() != len {
            return None;
        }
        bytes.copy_from_slice(packed);
        let first = bytes.first_mut()?;
        let negative = *first & 0x80 == 0;
        *first ^= 0x80;
        let mask = if negative { 0xff } else { 0 };
        let mut rest: &[u8] = bytes;
        let mut group = |digits: u8| -> Option<()> {
            let size = usize::from(*PARTIAL_BYTES.get(usize::from(digits))?);
            let (now, later) = rest.split_at_checked(size)?;
            rest = later;
            let value = now.iter().fold(0_u32, |value, byte| value << 8 | u32::from(byte ^ mask));
            if value >= GROUP {
                return None;
            }
            each(value, digits);
            Some(())
        };
        if self.head_digits > 0 {
            group(self.head_digits)?;
        }
        for _ in 0..self.int_groups + self.frac_groups {
            group(9)?;
        }
        if self.tail_digits > 0 {
            group(self.tail_digits)?;
        }
        Some(negative)
    }

    /// The number without its point. Needs a precision of at most 38.
    #[inline]
    pub(crate) fn unscaled(&self, packed: &[u8]) -> Option<i128> {
        if self.precision <= 18 {
            let mut number = 0_u64;
            let negative = self.groups(packed, |value, digits| {
                number = number.wrapping_mul(small_power(digits)).wrapping_add(u64::from(value));
            })?;
            let number = i128::from(number);
            return Some(if negative { -number } else { number });
        }
        let mut number = 0_i128;
        let mut overflow = false;
        let negative = self.groups(packed, |value, digits| {
            let next = number
                .checked_mul(i128::from(small_power(digits)))
                .and_then(|number| number.checked_add(i128::from(value)));
            overflow |= next.is_none();
            number = next.unwrap_or(0);
        })?;
        if overflow {
            return None;
        }
        Some(if negative { -number } else { number })
    }

    /// Appends the number as MySQL prints it.
    pub(crate) fn write_text(&self, packed: &[u8], out: &mut Vec<u8>) -> Option<()> {
        // All digits, then the point is put in.
        let mut digits = Vec::with_capacity(MAX_TEXT_BYTES);
        let negative =
            self.groups(packed, |value, count| push_padded(value, count, &mut digits))?;
        write_digits(negative, &digits, usize::from(self.scale), out);
        Some(())
    }
}

#[inline]
fn small_power(digits: u8) -> u64 {
    const POWERS: [u64; 10] =
        [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];
    POWERS.get(usize::from(digits)).copied().unwrap_or(1)
}

fn push_padded(mut value: u32, count: u8, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + usize::from(count), b'0');
    for slot in out.iter_mut().skip(start).rev() {
        *slot = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
}

/// Appends digits with a point before the last `scale` of them, without leading zeros.
fn write_digits(negative: bool, digits: &[u8], scale: usize, out: &mut Vec<u8>) {
    let (int, frac) = digits.split_at(digits.len().saturating_sub(scale));
    let zero = digits.iter().all(|digit| *digit == b'0');
    if negative && !zero {
        out.push(b'-');
    }
    let leading = int.iter().take_while(|digit| **digit == b'0').count();
    let int = int.get(leading..).unwrap_or_default();
    out.extend_from_slice(if int.is_empty() { b"0" } else { int });
    if scale > 0 {
        out.push(b'.');
        out.resize(out.len() + scale.saturating_sub(frac.len()), b'0');
        out.extend_from_slice(frac);
    }
}

/// 10 to the power of `exponent`, up to 38.
pub(crate) const fn power(exponent: u8) -> Option<i128> {
    10_i128.checked_pow(exponent as u32)
}

/// Moves the point of an unscaled number; digits that fall off round half away from zero.
pub(crate) fn rescale(number: i128, from: u8, to: u8) -> Option<i128> {
    if to >= from {
        return number.checked_mul(power(to - from)?);
    }
    let Some(divisor) = power(from - to) else { return Some(0) };
    let (quotient, remainder) = (number / divisor, number % divisor);
    let up = remainder.unsigned_abs() >= divisor.unsigned_abs().div_ceil(2);
    Some(if up { quotient + number.signum() } else { quotient })
}

/// Reads `-12.345` as an unscaled number with `scale` digits; further digits round half away from zero.
pub(crate) fn parse(text: &[u8], scale: u8) -> Option<i128> {
    let (negative, text) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        (b'+', rest) => (false, rest),
        _ => (false, text),
    };
    let point = text.iter().position(|byte| *byte == b'.').unwrap_or(text.len());
    let (int, frac) = text.split_at(point);
    let frac = frac.get(1..).unwrap_or_default();
    if int.is_empty() && frac.is_empty() {
        return None;
    }
    // The usual case: as many digits behind the point as are wanted, and all fit into 64 bits.
    if frac.len() == usize::from(scale) && int.len() + frac.len() <= 18 {
        let number = small_digits(frac, small_digits(int, 0)?)?;
        let number = i128::from(number);
        return Some(if negative { -number } else { number });
    }
    let padded = frac.iter().copied().chain(std::iter::repeat(b'0')).take(usize::from(scale));
    let digits = int.iter().copied().chain(padded);
    // The usual case needs no wide arithmetic: 18 digits fit into 64 bits.
    let mut number = if int.len() + usize::from(scale) <= 18 {
        i128::from(small_number(digits)?)
    } else {
        let mut number = 0_i128;
        for digit in digits {
            let digit = char::from(digit).to_digit(10)?;
            number = number.checked_mul(10)?.checked_add(i128::from(digit))?;
        }
        number
    };
    let dropped = frac.get(usize::from(scale)..).unwrap_or_default();
    if !dropped.iter().all(u8::is_ascii_digit) {
        return None;
    }
    if dropped.first().is_some_and(|digit| *digit >= b'5') {
        number = number.checked_add(1)?;
    }
    Some(if negative { -number } else { number })
}

/// Appends digits to a number; 18 at most in all.
#[inline]
fn small_digits(digits: &[u8], start: u64) -> Option<u64> {
    let mut number = start;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    Some(number)
}

/// At most 18 digits as a number.
fn small_number(digits: impl Iterator<Item = u8>) -> Option<u64> {
    let mut number = 0_u64;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mysql_common::binlog::decimal::Decimal;
    use proptest::prelude::*;

    #[test]
    fn rescaling_rounds_half_away_from_zero() {
        for (number, from, to, expected) in [
            (3456, 1, 0, 346),
            (-3455, 1, 0, -346),
            (3454, 1, 0, 345),
            (49, 2, 0, 0),
            (50, 2, 0, 1),
            (7, 0, 3, 7000),
            (1, 38, 0, 0),
        ] {
            assert_eq!(rescale(number, from, to), Some(expected), "{number} from {from} to {to}");
        }
        assert_eq!(rescale(i128::MAX, 0, 1), None);
    }

    #[test]
    fn text_is_read_with_rounding() {
        for (text, scale, expected) in [
            ("345.6", 0, Some(346)),
            ("-0.005", 2, Some(-1)),
            ("12", 2, Some(1200)),
            (".5", 1, Some(5)),
            ("-", 0, None),
            ("1e5", 0, None),
            ("1.2.3", 1, None),
            ("99999999999999999999999999999999999999999", 0, None),
        ] {
            assert_eq!(parse(text.as_bytes(), scale), expected, "{text}");
        }
    }

    /// Appends an unscaled number with its point.
    fn write_unscaled(number: i128, scale: u8, out: &mut Vec<u8>) {
        let digits = number.unsigned_abs().to_string();
        write_digits(number < 0, digits.as_bytes(), usize::from(scale), out);
    }

    /// Packs groups of digits as the server does.
    fn pack(precision: u8, scale: u8, negative: bool, seed: u64) -> Vec<u8> {
        let int = precision - scale;
        let mut groups = vec![int % 9];
        groups.extend(vec![9; usize::from(int / 9 + scale / 9)]);
        groups.push(scale % 9);
        let mut random = seed;
        let mut bytes: Vec<u8> = Vec::new();
        for digits in groups {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let value = u32::try_from((random >> 33) % small_power(digits)).unwrap();
            let size = usize::from(PARTIAL_BYTES[usize::from(digits)]);
            bytes.extend(&value.to_be_bytes()[4 - size..]);
        }
        bytes[0] ^= 0x80;
        if negative {
            bytes.iter_mut().for_each(|byte| *byte = !*byte);
        }
        bytes
    }

    proptest! {
        #[test]
        fn packed_numbers_equal_those_of_mysql_common(
            precision in 1_u8..=65,
            scale_of in 0_u8..=30,
            negative: bool,
            seed: u64,
        ) {
            let scale = scale_of.min(precision);
            let packed = pack(precision, scale, negative, seed);
            let packing = Packing::new(precision, scale).unwrap();
            prop_assert_eq!(usize::from(packing.bytes), packed.len());
            let mut out = Vec::new();
            packing.write_text(&packed, &mut out).unwrap();
            let ours = String::from_utf8(out).unwrap();
            let (wide, short) = (usize::from(precision), usize::from(scale));
            let theirs = Decimal::read_bin(&mut &packed[..], wide, short, false).unwrap().to_string();
            // A negative zero is never stored.
            prop_assume!(theirs.contains(|digit: char| ('1'..='9').contains(&digit)));
            prop_assert_eq!(&ours, &theirs);
            if precision <= 38 {
                let number = packing.unscaled(&packed).unwrap();
                prop_assert_eq!(Some(number), parse(ours.as_bytes(), scale));
                let mut again = Vec::new();
                write_unscaled(number, scale, &mut again);
                prop_assert_eq!(String::from_utf8(again).unwrap(), ours);
            }
        }

        #[test]
        fn any_bytes_are_a_number_or_none(bytes: Vec<u8>, precision: u8, scale: u8) {
            if let Some(packing) = Packing::new(precision, scale) {
                let _number = packing.unscaled(&bytes);
                let _text = packing.write_text(&bytes, &mut Vec::new());
            }
        }
    }
}
