//! Iceberg's partition transforms on columns of Arrow (specification, "Partition Transforms").
//!
//! NULL is transformed to NULL. Values before 1970 and below zero are rounded down, not toward zero.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, Int32Array, PrimitiveArray,
    StringArray,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Int32Type, Int64Type, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampNanosecondType,
};
use iceberg::spec::Transform;

use crate::Error;

const MICROS_IN_HOUR: i64 = 3_600_000_000;
const MICROS_IN_DAY: i64 = 24 * MICROS_IN_HOUR;

/// The transformed values of a column.
pub(crate) fn transform(transform: Transform, column: &ArrayRef) -> Result<ArrayRef, Error> {
    match transform {
        Transform::Identity => Ok(Arc::clone(column)),
        Transform::Bucket(count) => bucket(column, count),
        Transform::Truncate(width) => truncate(column, width),
        Transform::Year => by_days(column, |day| months_of(day).div_euclid(12)),
        Transform::Month => by_days(column, months_of),
        Transform::Day => by_days(column, |day| day),
        Transform::Hour => hours(column),
        Transform::Void => Ok(arrow::array::new_null_array(column.data_type(), column.len())),
        Transform::Unknown => Err(Error::Invalid(
            "the table is partitioned by a transform that is not known; it cannot be written"
                .to_owned(),
        )),
    }
}

fn unsupported(transform: &str, column: &ArrayRef) -> Error {
    Error::bug(format!("{transform} of a column of type {}", column.data_type()))
}

fn map<T: ArrowPrimitiveType>(column: &ArrayRef, f: impl Fn(T::Native) -> i32) -> ArrayRef {
    Arc::new(column.as_primitive::<T>().unary::<_, Int32Type>(f))
}

/// Transforms that depend on the day only, counted from 1970.
fn by_days(column: &ArrayRef, of_day: impl Fn(i64) -> i64) -> Result<ArrayRef, Error> {
    let result = |day: i64| i32::try_from(of_day(day)).unwrap_or(i32::MAX);
    Ok(match column.data_type() {
        DataType::Date32 => map::<Date32Type>(column, |day| result(i64::from(day))),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            map::<TimestampMicrosecondType>(column, |time| result(time.div_euclid(MICROS_IN_DAY)))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            map::<TimestampNanosecondType>(column, |time| {
                result(time.div_euclid(MICROS_IN_DAY * 1_000))
            })
        }
        _ => return Err(unsupported("year, month or day", column)),
    })
}

fn hours(column: &ArrayRef) -> Result<ArrayRef, Error> {
    let result = |hour: i64| i32::try_from(hour).unwrap_or(i32::MAX);
    Ok(match column.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            map::<TimestampMicrosecondType>(column, |time| result(time.div_euclid(MICROS_IN_HOUR)))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            map::<TimestampNanosecondType>(column, |time| {
                result(time.div_euclid(MICROS_IN_HOUR * 1_000))
            })
        }
        _ => return Err(unsupported("hour", column)),
    })
}

/// The month of a day, both counted from January 1970 (proleptic Gregorian calendar).
pub(crate) fn months_of(day: i64) -> i64 {
    let (year, month, _) = civil(day);
    (year - 1970) * 12 + month - 1
}

/// Year, month and day of month of a day that is counted from 1970.
pub(crate) fn civil(day: i64) -> (i64, i64, i64) {
    // Civil from days, after Howard Hinnant: years start in March, so the leap day is the last.
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_month)
}

fn truncate(column: &ArrayRef, width: u32) -> Result<ArrayRef, Error> {
    let long = i64::from(width);
    Ok(match column.data_type() {
        DataType::Int32 => {
            let values = column.as_primitive::<Int32Type>();
            let result: PrimitiveArray<Int32Type> = values.unary(|value| {
                let value = i64::from(value);
                // The type wraps as other engines' does.
                i32::try_from(value - value.rem_euclid(long)).unwrap_or(i32::MIN)
            });
            Arc::new(result)
        }
        DataType::Int64 => {
            let values = column.as_primitive::<Int64Type>();
            let result: PrimitiveArray<Int64Type> =
                values.unary(|value| value.saturating_sub(value.rem_euclid(long)));
            Arc::new(result)
        }
        DataType::Decimal128(precision, scale) => {
            let values = column.as_primitive::<Decimal128Type>();
            let width = i128::from(width);
            let result: PrimitiveArray<Decimal128Type> =
                values.unary(|value| value - value.rem_euclid(width));
            Arc::new(result.with_precision_and_scale(*precision, *scale).map_err(Error::bug)?)
        }
        DataType::Utf8 => {
            let width = width as usize;
            let cut = |text: &str| {
                let end = text.char_indices().nth(width).map_or(text.len(), |(at, _)| at);
                text.get(..end).unwrap_or(text).to_owned()
            };
            let values = column.as_string::<i32>().iter().map(|text| text.map(cut));
            Arc::new(values.collect::<StringArray>())
        }
        DataType::Binary => {
            let width = width as usize;
            let values = column.as_binary::<i32>().iter();
            Arc::new(
                values
                    .map(|bytes| bytes.map(|bytes| bytes.get(..width).unwrap_or(bytes)))
                    .collect::<BinaryArray>(),
            )
        }
        _ => return Err(unsupported("truncate", column)),
    })
}

fn bucket(column: &ArrayRef, count: u32) -> Result<ArrayRef, Error> {
    let of_bytes = |bytes: &[u8]| bucket_of(murmur3(bytes), count);
    let of_long = |value: i64| of_bytes(&value.to_le_bytes());
    Ok(match column.data_type() {
        DataType::Int32 => map::<Int32Type>(column, |value| of_long(i64::from(value))),
        DataType::Int64 => map::<Int64Type>(column, of_long),
        DataType::Date32 => map::<Date32Type>(column, |value| of_long(i64::from(value))),
        DataType::Time64(TimeUnit::Microsecond) => map::<Time64MicrosecondType>(column, of_long),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            map::<TimestampMicrosecondType>(column, of_long)
        }
        // Hashed as microseconds, so that a column that was widened stays in its buckets.
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            map::<TimestampNanosecondType>(column, |value| of_long(value.div_euclid(1_000)))
        }
        DataType::Decimal128(_, _) => {
            map::<Decimal128Type>(column, |value| of_bytes(shortest(&value.to_be_bytes())))
        }
        DataType::Utf8 => {
            let values = column.as_string::<i32>().iter();
            let buckets = values.map(|text| text.map(|text| of_bytes(text.as_bytes())));
            Arc::new(buckets.collect::<Int32Array>())
        }
        DataType::Binary => {
            let values = column.as_binary::<i32>().iter();
            Arc::new(values.map(|bytes| bytes.map(of_bytes)).collect::<Int32Array>())
        }
        DataType::FixedSizeBinary(_) => {
            let values = column.as_fixed_size_binary().iter();
            Arc::new(values.map(|bytes| bytes.map(of_bytes)).collect::<Int32Array>())
        }
        _ => return Err(unsupported("bucket", column)),
    })
}

fn bucket_of(hash: u32, count: u32) -> i32 {
    i32::try_from((hash & 0x7fff_ffff) % count.max(1)).unwrap_or(0)
}

/// The fewest bytes of a big-endian number in two's complement.
fn shortest(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [first, second, ..] = rest {
        let is_sign_only = (*first == 0 && *second < 0x80) || (*first == 0xff && *second >= 0x80);
        if !is_sign_only {
            break;
        }
        rest = rest.split_first().map_or(rest, |(_, rest)| rest);
    }
    rest
}

/// The 32-bit Murmur3 hash (x86 variant, seed 0).
pub(crate) fn murmur3(bytes: &[u8]) -> u32 {
    const C1: u32 = 0xcc9e_2d51;
    const C2: u32 = 0x1b87_3593;
    let mix = |word: u32| word.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2);
    let (words, tail) = bytes.as_chunks::<4>();
    let mut hash = 0_u32;
    for word in words {
        hash ^= mix(u32::from_le_bytes(*word));
        hash = hash.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    if !tail.is_empty() {
        let word = tail.iter().rev().fold(0_u32, |word, byte| (word << 8) | u32::from(*byte));
        hash ^= mix(word);
    }
    #[expect(clippy::cast_possible_truncation, reason = "the length counts modulo 2^32")]
    let length = bytes.len() as u32;
    hash ^= length;
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Date32Array, Decimal128Array, Int64Array, TimestampMicrosecondArray,
        TimestampNanosecondArray,
    };

    use super::*;

    /// The hashes that the specification's appendix B prints.
    #[test]
    fn hashes_are_those_of_the_specification() {
        let check = |bytes: &[u8], hash: i64| {
            assert_eq!(i64::from(murmur3(bytes).cast_signed()), hash, "{bytes:?}");
        };
        check(&34_i64.to_le_bytes(), 2_017_239_379);
        check(shortest(&1420_i128.to_be_bytes()), -500_754_589);
        check(&17_486_i64.to_le_bytes(), -653_330_422);
        check(&81_068_000_000_i64.to_le_bytes(), -662_762_989);
        check(&1_510_871_468_000_000_i64.to_le_bytes(), -2_047_944_441);
        check(b"iceberg", 1_210_000_089);
        check(&[0, 1, 2, 3], -188_683_207);
    }

    #[test]
    fn nanoseconds_and_microseconds_share_their_buckets() {
        let micros: ArrayRef =
            Arc::new(TimestampMicrosecondArray::from(vec![1_510_871_468_000_001]));
        let nanos: ArrayRef =
            Arc::new(TimestampNanosecondArray::from(vec![1_510_871_468_000_001_001]));
        assert_eq!(&bucket(&micros, 97).unwrap(), &bucket(&nanos, 97).unwrap());
    }

    #[test]
    fn times_before_1970_are_rounded_down() {
        let check = |what: Transform, times: Vec<i64>, expected: Vec<i32>| {
            let column: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times));
            let result = transform(what, &column).unwrap();
            assert_eq!(result.as_primitive::<Int32Type>().values().to_vec(), expected, "{what}");
        };
        // 1969-12-31T23:59:59.999999, 1970-01-01, 2017-11-16T22:31:08
        let times = vec![-1, 0, 1_510_871_468_000_000];
        check(Transform::Hour, times.clone(), vec![-1, 0, 419_686]);
        check(Transform::Day, times.clone(), vec![-1, 0, 17_486]);
        check(Transform::Month, times.clone(), vec![-1, 0, 574]);
        check(Transform::Year, times, vec![-1, 0, 47]);
        let days: ArrayRef = Arc::new(Date32Array::from(vec![Some(11_016), None, Some(-719_162)]));
        let months = transform(Transform::Month, &days).unwrap();
        let expected = Int32Array::from(vec![Some(361), None, Some(-1969 * 12)]);
        assert_eq!(months.as_primitive::<Int32Type>(), &expected);
    }

    #[test]
    fn truncation_rounds_down_and_counts_characters() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, -1, 25]));
        let result = transform(Transform::Truncate(10), &numbers).unwrap();
        assert_eq!(result.as_primitive::<Int64Type>().values().to_vec(), [0, -10, 20]);
        let decimals =
            Decimal128Array::from(vec![1065, -1]).with_precision_and_scale(9, 2).unwrap();
        let result = transform(Transform::Truncate(50), &(Arc::new(decimals) as ArrayRef)).unwrap();
        assert_eq!(result.as_primitive::<Decimal128Type>().values().to_vec(), [1050, -50]);
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("iceberg"), Some("äö"), None]));
        let result = transform(Transform::Truncate(3), &text).unwrap();
        let result: Vec<Option<&str>> = result.as_string::<i32>().iter().collect();
        assert_eq!(result, [Some("ice"), Some("äö"), None]);
    }
}
