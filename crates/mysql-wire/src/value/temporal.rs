//! Dates and times: MySQL's packed forms, the calendar, and text.

use crate::cursor::Cursor;

const MICROS: i64 = 1_000_000;
const DAY_SECONDS: i64 = 86_400;

/// A date and a time of day as MySQL keeps them, which may be no real date: `0000-00-00`, `2024-02-30`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) year: u16,
    pub(crate) month: u8,
    pub(crate) day: u8,
    pub(crate) hour: u8,
    pub(crate) minute: u8,
    pub(crate) second: u8,
    pub(crate) micros: u32,
}

impl Moment {
    /// Days since 1970, or `None` if there is no such day. Year 0 is none, as in Flink.
    #[inline]
    pub(crate) fn days(&self) -> Option<i32> {
        if self.year == 0 || !(1..=12).contains(&self.month) || self.day == 0 {
            return None;
        }
        if self.day > 28 && self.day > month_days(self.year, self.month) {
            return None;
        }
        Some(days_from_civil(i32::from(self.year), self.month, self.day))
    }

    /// Seconds since 1970 on the wall clock.
    #[inline]
    pub(crate) fn seconds(&self) -> Option<i64> {
        let days = i64::from(self.days()?);
        let (hour, minute, second) =
            (i64::from(self.hour), i64::from(self.minute), i64::from(self.second));
        Some(days * DAY_SECONDS + hour * 3_600 + minute * 60 + second)
    }

    /// The nearest date that exists, for one that does not: `0000-00-00` is 0001-01-01, a day past its month's last
    /// one is the last one.
    pub(crate) fn rounded(&self) -> Self {
        let (year, month) = (self.year.max(1), self.month.clamp(1, 12));
        let day = self.day.clamp(1, month_days(year, month));
        Self { year, month, day, ..*self }
    }

    /// The wall clock at a number of seconds since 1970; years past 9999 are cut.
    pub(crate) fn at(seconds: i64, micros: u32) -> Self {
        let (year, month, day) = civil_from_days(seconds.div_euclid(DAY_SECONDS));
        let of_day = seconds.rem_euclid(DAY_SECONDS);
        let small = |number: i64| u8::try_from(number).unwrap_or(0);
        Self {
            year: u16::try_from(year.clamp(0, 9_999)).unwrap_or(0),
            month,
            day,
            hour: small(of_day / 3_600),
            minute: small(of_day / 60 % 60),
            second: small(of_day % 60),
            micros,
        }
    }

    /// Takes MySQL's packed integer part apart: year × 13 + month, day, hour, minute, second.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the masks keep each field in its range")]
    pub(crate) const fn unpack(packed: u64, micros: u32) -> Self {
        let year_month = packed >> 22;
        Self {
            year: (year_month / 13) as u16,
            month: (year_month % 13) as u8,
            day: (packed >> 17 & 31) as u8,
            hour: (packed >> 12 & 31) as u8,
            minute: (packed >> 6 & 63) as u8,
            second: (packed & 63) as u8,
            micros,
        }
    }

    /// `DATETIME(fraction)` of a row event.
    #[inline]
    pub(crate) fn read_datetime2(cursor: &mut Cursor<'_>, fraction: u8) -> Option<Self> {
        const OFFSET: u64 = 0x80_0000_0000;
        let [a, b, c, d, e] = cursor.array()?;
        let packed = u64::from_be_bytes([0, 0, 0, a, b, c, d, e]).wrapping_sub(OFFSET);
        let micros = read_fraction(cursor, fraction)?;
        Some(Self::unpack(packed & 0x7f_ffff_ffff, micros))
    }

    /// A date, or date and time, of the binary protocol.
    #[inline]
    pub(crate) fn read_binary(cursor: &mut Cursor<'_>) -> Option<Self> {
        let len = usize::from(cursor.u8()?);
        let bytes = cursor.take(len)?;
        let small = |[low, high, month, day, hour, minute, second]: [u8; 7], micros| Self {
            year: u16::from_le_bytes([low, high]),
            month,
            day,
            hour,
            minute,
            second,
            micros,
        };
        // With a time of day, which is the usual case.
        if let Some((fields, rest)) = bytes.split_first_chunk::<7>() {
            return match rest.first_chunk::<4>() {
                Some(micros) => Some(small(*fields, u32::from_le_bytes(*micros))),
                None => Some(small(*fields, 0)),
            };
        }
        let mut fields = Cursor::new(bytes);
        let mut moment = Self::default();
        if len >= 4 {
            moment.year = fields.u16()?;
            moment.month = fields.u8()?;
            moment.day = fields.u8()?;
        }
        Some(moment)
    }

    /// `DATETIME` before MySQL 5.6: the digits as a number.
    pub(crate) fn read_old_datetime(cursor: &mut Cursor<'_>) -> Option<Self> {
        let number = cursor.u64()?;
        let (date, time) = (number / 1_000_000, number % 1_000_000);
        let small = |number: u64| u8::try_from(number % 100).unwrap_or(0);
        Some(Self {
            year: u16::try_from(date / 10_000).ok()?,
            month: small(date / 100),
            day: small(date),
            hour: small(time / 10_000),
            minute: small(time / 100),
            second: small(time),
            micros: 0,
        })
    }

    /// `DATETIME(fraction)` of MariaDB with `mysql56_temporal_format=OFF`: one number of mixed radix.
    pub(crate) fn read_fine_datetime(cursor: &mut Cursor<'_>, fraction: u8) -> Option<Self> {
        let number = read_fine(cursor, &FINE_DATETIME_BYTES, fraction)?;
        let (number, micros) = split_fraction(number, fraction)?;
        let small = |number: u64| u8::try_from(number).ok();
        let (days, of_day) = (number / 86_400, number % 86_400);
        let months = days / 32;
        Some(Self {
            year: u16::try_from(months / 13).ok()?,
            month: small(months % 13)?,
            day: small(days % 32)?,
            hour: small(of_day / 3_600)?,
            minute: small(of_day / 60 % 60)?,
            second: small(of_day % 60)?,
            micros,
        })
    }

    /// `DATE` of a row event.
    #[inline]
    pub(crate) fn read_date(cursor: &mut Cursor<'_>) -> Option<Self> {
        let [a, b, c] = cursor.array()?;
        let packed = u32::from_le_bytes([a, b, c, 0]);
        let small = |number: u32| u8::try_from(number).unwrap_or(0);
        Some(Self {
            year: u16::try_from(packed >> 9).ok()?,
            month: small(packed >> 5 & 15),
            day: small(packed & 31),
            ..Self::default()
        })
    }

    /// Appends `YYYY-MM-DD`.
    pub(crate) fn write_date(&self, out: &mut Vec<u8>) {
        write_number(u64::from(self.year), 4, out);
        out.push(b'-');
        write_number(u64::from(self.month), 2, out);
        out.push(b'-');
        write_number(u64::from(self.day), 2, out);
    }

    /// Appends `YYYY-MM-DD HH:MM:SS` and a fraction of so many digits.
    pub(crate) fn write_datetime(&self, fraction: u8, out: &mut Vec<u8>) {
        self.write_date(out);
        out.push(b' ');
        write_number(u64::from(self.hour), 2, out);
        out.push(b':');
        write_number(u64::from(self.minute), 2, out);
        out.push(b':');
        write_number(u64::from(self.second), 2, out);
        write_fraction(self.micros, fraction, out);
    }
}

/// Seconds and microseconds since 1970 of `TIMESTAMP(fraction)` in a row event. Zero is MySQL's zero date.
#[inline]
pub(crate) fn read_timestamp2(cursor: &mut Cursor<'_>, fraction: u8) -> Option<(i64, u32)> {
    let seconds = u32::from_be_bytes(cursor.array()?);
    Some((i64::from(seconds), read_fraction(cursor, fraction)?))
}

/// Microseconds of `TIME(fraction)` in a row event.
pub(crate) fn read_time2(cursor: &mut Cursor<'_>, fraction: u8) -> Option<i64> {
    let fraction_bytes = fraction_bytes(fraction);
    let raw = cursor.take(3 + fraction_bytes)?;
    let number = raw.iter().fold(0_i64, |number, byte| number << 8 | i64::from(*byte));
    let shift = 8 * u32::try_from(fraction_bytes).ok()?;
    let signed = number - (0x80_0000 << shift);
    let size = signed.unsigned_abs();
    let micros = scale_fraction(u32::try_from(size & ((1 << shift) - 1)).ok()?, fraction);
    let hms = i64::try_from(size >> shift).ok()?;
    let seconds = (hms >> 12 & 0x3ff) * 3_600 + (hms >> 6 & 63) * 60 + (hms & 63);
    let total = seconds * MICROS + i64::from(micros);
    Some(if signed < 0 { -total } else { total })
}

/// Microseconds of `TIME` before MySQL 5.6: the digits as a signed number.
pub(crate) fn read_old_time(cursor: &mut Cursor<'_>) -> Option<i64> {
    let [a, b, c] = cursor.array()?;
    let number = i64::from(i32::from_le_bytes([0, a, b, c]) >> 8);
    let size = number.abs();
    let total = (size / 10_000 * 3_600 + size / 100 % 100 * 60 + size % 100) * MICROS;
    Some(if number < 0 { -total } else { total })
}

/// How many bytes MariaDB's older forms take, by the digits of the fraction.
pub(crate) const FINE_DATETIME_BYTES: [usize; 7] = [8, 6, 6, 7, 7, 7, 8];
/// The same for `TIME`.
pub(crate) const FINE_TIME_BYTES: [usize; 7] = [3, 4, 4, 5, 5, 5, 6];

pub(crate) fn fine_bytes(table: &[usize; 7], fraction: u8) -> Option<usize> {
    table.get(usize::from(fraction)).copied()
}

/// A number with its highest byte first.
fn read_fine(cursor: &mut Cursor<'_>, table: &[usize; 7], fraction: u8) -> Option<u64> {
    let raw = cursor.take(fine_bytes(table, fraction)?)?;
    Some(raw.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// A number in units of its fraction as whole seconds and microseconds.
fn split_fraction(number: u64, fraction: u8) -> Option<(u64, u32)> {
    let unit = 10_u64.checked_pow(u32::from(fraction))?;
    let micros = number % unit * 10_u64.checked_pow(6_u32.checked_sub(u32::from(fraction))?)?;
    Some((number / unit, u32::try_from(micros).ok()?))
}

/// Seconds and microseconds since 1970 of `TIMESTAMP(fraction)` of MariaDB with `mysql56_temporal_format=OFF`.
pub(crate) fn read_fine_timestamp(cursor: &mut Cursor<'_>, fraction: u8) -> Option<(i64, u32)> {
    let seconds = u32::from_be_bytes(cursor.array()?);
    let raw = cursor.take(fraction_bytes(fraction))?;
    let units = raw.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let (_, micros) = split_fraction(units, fraction)?;
    Some((i64::from(seconds), micros))
}

/// Microseconds of `TIME(fraction)` of MariaDB with `mysql56_temporal_format=OFF`: a number that is shifted by the
/// greatest time, so that none is negative.
pub(crate) fn read_fine_time(cursor: &mut Cursor<'_>, fraction: u8) -> Option<i64> {
    const SHIFT_SECONDS: i64 = 838 * 3_600 + 59 * 60 + 60;
    let number = i64::try_from(read_fine(cursor, &FINE_TIME_BYTES, fraction)?).ok()?;
    let unit = 10_i64.checked_pow(u32::from(fraction))?;
    let shifted = number - SHIFT_SECONDS * unit;
    Some(shifted * 10_i64.checked_pow(6_u32.checked_sub(u32::from(fraction))?)?)
}

/// Microseconds of a `TIME` of the binary protocol.
pub(crate) fn read_binary_time(cursor: &mut Cursor<'_>) -> Option<i64> {
    let len = usize::from(cursor.u8()?);
    let mut fields = Cursor::new(cursor.take(len)?);
    if len == 0 {
        return Some(0);
    }
    let negative = fields.u8()? != 0;
    // 838 hours are the most that a TIME holds.
    let days = i64::from(fields.u32().filter(|days| *days < 100)?);
    let (hour, minute, second) =
        (i64::from(fields.u8()?), i64::from(fields.u8()?), i64::from(fields.u8()?));
    let micros = if len >= 12 { i64::from(fields.u32()?) } else { 0 };
    let total = (days * DAY_SECONDS + hour * 3_600 + minute * 60 + second) * MICROS + micros;
    Some(if negative { -total } else { total })
}

/// Appends `[-]HH:MM:SS` and a fraction of so many digits.
pub(crate) fn write_time(micros: i64, fraction: u8, out: &mut Vec<u8>) {
    if micros < 0 {
        out.push(b'-');
    }
    let size = micros.unsigned_abs();
    let seconds = size / 1_000_000;
    write_number(seconds / 3_600, 2, out);
    out.push(b':');
    write_number(seconds / 60 % 60, 2, out);
    out.push(b':');
    write_number(seconds % 60, 2, out);
    write_fraction(u32::try_from(size % 1_000_000).unwrap_or(0), fraction, out);
}

/// How many bytes hold a fraction of so many digits.
#[inline]
pub(crate) const fn fraction_bytes(fraction: u8) -> usize {
    (fraction as usize).div_ceil(2)
}

#[inline]
fn read_fraction(cursor: &mut Cursor<'_>, fraction: u8) -> Option<u32> {
    let raw = match fraction {
        0 => return Some(0),
        1 | 2 => u32::from(cursor.u8()?),
        3 | 4 => u32::from(u16::from_be_bytes(cursor.array()?)),
        _ => {
            let [a, b, c] = cursor.array()?;
            u32::from_be_bytes([0, a, b, c])
        }
    };
    Some(scale_fraction(raw, fraction))
}

#[inline]
const fn scale_fraction(raw: u32, fraction: u8) -> u32 {
    match fraction {
        0 => 0,
        1 | 2 => raw * 10_000,
        3 | 4 => raw * 100,
        _ => raw,
    }
}

fn write_fraction(micros: u32, fraction: u8, out: &mut Vec<u8>) {
    if fraction == 0 {
        return;
    }
    out.push(b'.');
    let start = out.len();
    write_number(u64::from(micros), 6, out);
    out.truncate(start + usize::from(fraction.min(6)));
}

/// Appends a number with at least `width` digits.
pub(crate) fn write_number(number: u64, width: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut used = 0;
    let mut rest = number;
    for slot in digits.iter_mut().rev() {
        if rest == 0 && used >= width {
            break;
        }
        *slot = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        used += 1;
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

const fn month_days(year: u16, month: u8) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970 of a date of the Gregorian calendar, extended to the past.
#[inline]
fn days_from_civil(year: i32, month: u8, day: u8) -> i32 {
    let month = i32::from(month);
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + i32::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, u8, u8) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, u8::try_from(month).unwrap_or(0), u8::try_from(day).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn impossible_dates_have_no_day() {
        for (year, month, day, expected) in [
            (1970, 1, 1, Some(0)),
            (2024, 2, 29, Some(19_782)),
            (9999, 12, 31, Some(2_932_896)),
            (1, 1, 1, Some(-719_162)),
            (0, 0, 0, None),
            (0, 1, 1, None),
            (2024, 0, 15, None),
            (2024, 1, 0, None),
            (2024, 2, 30, None),
            (2023, 2, 29, None),
            (2024, 13, 1, None),
            (2024, 4, 31, None),
        ] {
            let moment = Moment { year, month, day, ..Moment::default() };
            assert_eq!(moment.days(), expected, "{year}-{month}-{day}");
        }
    }

    #[test]
    fn times_print_as_in_mysql() {
        for (micros, fraction, expected) in [
            (0, 0, "00:00:00"),
            (-3_020_399_000_000, 0, "-838:59:59"),
            (3_723_450_000, 2, "01:02:03.45"),
            (-1, 6, "-00:00:00.000001"),
        ] {
            let mut out = Vec::new();
            write_time(micros, fraction, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        let mut out = Vec::new();
        Moment::default().write_datetime(3, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "0000-00-00 00:00:00.000");
    }

    proptest! {
        #[test]
        fn the_calendar_goes_both_ways(seconds in -62_135_596_800_i64..253_402_300_800) {
            prop_assert_eq!(Moment::at(seconds, 0).seconds(), Some(seconds));
        }
    }
}
