//! Floating-point numbers as MySQL prints them (`my_gcvt`): the shortest digits that come back as the same
//! number, without an exponent where that is short enough.

/// Appends a number of double precision.
pub(crate) fn write_f64(number: f64, out: &mut Vec<u8>) {
    write(&format!("{number:e}"), out);
}

/// Appends a number of single precision.
pub(crate) fn write_f32(number: f32, out: &mut Vec<u8>) {
    write(&format!("{number:e}"), out);
}

/// Where the point may be from the first digit on, for a form without an exponent.
const MAX_PLAIN: i32 = 15;

/// Appends a number given as `d.ddde±x`, with as many digits as it needs.
fn write(scientific: &str, out: &mut Vec<u8>) {
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        // Infinite and not-a-number do not occur in MySQL.
        out.extend_from_slice(scientific.as_bytes());
        return;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa),
    };
    let digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    // The number is 0.ddd times 10 to the power of `point`.
    let point = exponent + 1;
    if negative {
        out.push(b'-');
    }
    if digits.iter().all(|digit| *digit == b'0') {
        out.push(b'0');
    } else if point > -MAX_PLAIN && (point <= MAX_PLAIN || count > point) {
        write_plain(&digits, point, out);
    } else {
        write_exponent(&digits, exponent, out);
    }
}

fn write_plain(digits: &[u8], point: i32, out: &mut Vec<u8>) {
    let before = usize::try_from(point).unwrap_or(0);
    let (int, frac) = digits.split_at(before.min(digits.len()));
    out.extend_from_slice(if before == 0 { b"0" } else { int });
    out.resize(out.len() + before.saturating_sub(digits.len()), b'0');
    if !frac.is_empty() {
        out.push(b'.');
        out.resize(out.len() + usize::try_from(-point).unwrap_or(0), b'0');
        out.extend_from_slice(frac);
    }
}

fn write_exponent(digits: &[u8], exponent: i32, out: &mut Vec<u8>) {
    let (first, rest) = digits.split_at(1.min(digits.len()));
    out.extend_from_slice(first);
    if !rest.is_empty() {
        out.push(b'.');
        out.extend_from_slice(rest);
    }
    out.push(b'e');
    out.extend_from_slice(exponent.to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(number: f64) -> String {
        let mut out = Vec::new();
        write_f64(number, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_print_as_in_mysql() {
        for (number, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1000.0, "1000"),
            (1e14, "100000000000000"),
            (1e15, "1e15"),
            (1e20, "1e20"),
            (123_456_789_012_345.6, "123456789012345.6"),
            (1_234_567_890_123_456.5, "1234567890123456.5"),
            (0.1, "0.1"),
            (-1.5e-5, "-0.000015"),
            (1e-14, "0.00000000000001"),
            (1e-16, "1e-16"),
            (1.797_693_134_862_315_7e308, "1.7976931348623157e308"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(text(number), expected);
        }
        let mut out = Vec::new();
        write_f32(1.234_567_9, &mut out);
        assert_eq!(out, b"1.2345679");
    }

    proptest! {
        #[test]
        fn numbers_come_back(number: f64) {
            prop_assume!(number.is_finite());
            prop_assert_eq!(text(number).parse::<f64>().unwrap().to_bits(), number.to_bits());
        }
    }
}
