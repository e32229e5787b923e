//! Wall-clock time and instants, and their texts, as Flink's CAST has them.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, PrimitiveArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Int32Type, Int64Type, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampNanosecondType,
};
use chrono::{DateTime, LocalResult, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone};
use datafusion::common::{Result, exec_err};

use super::Parameter::{Any, Boolean, Int, Moment, Text};
use super::{Arguments, Definition, Returns, UTC, UTC_ZONE};
use crate::session::SessionZone;

/// Keeps some digits of a second: the second half of a cast to a type of that precision.
pub(crate) const CUT_MOMENT: &str = "__cut_moment";

/// Keeps the first characters: the second half of `CAST(x AS VARCHAR(n))`.
pub(crate) const CUT_TEXT: &str = "__cut_text";

/// Keeps the first characters or pads: the second half of `CAST(x AS CHAR(n))`.
pub(crate) const PAD_TEXT: &str = "__pad_text";

/// The functions that a query cannot name; casts are rewritten to them.
pub(super) fn definitions() -> Vec<Definition> {
    vec![
        Definition::new(CUT_MOMENT, &[Any, Int], Returns::Like(0), cut_moment),
        Definition::new(CUT_TEXT, &[Text, Int], Returns::Text, |arguments| {
            let (text, len) = (arguments.text(0)?, arguments.int(1)?);
            arguments.each_text(|row| {
                let len = usize::try_from(len.value(row)).unwrap_or(0);
                Ok(Some(text.value(row).chars().take(len).collect()))
            })
        }),
        Definition::new(PAD_TEXT, &[Text, Int], Returns::Text, |arguments| {
            let (text, len) = (arguments.text(0)?, arguments.int(1)?);
            arguments.each_text(|row| {
                let len = usize::try_from(len.value(row)).unwrap_or(0);
                let padded = text.value(row).chars().chain(std::iter::repeat(' '));
                Ok(Some(padded.take(len).collect()))
            })
        }),
        local_of_instant(),
        instant_of_local(),
        text_of_boolean(),
        text_of_moment(),
    ]
}

/// Times of six digits become times of fewer; earlier ones are cut towards the past.
fn cut_moment(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (column, digits) = (arguments.any(0)?, arguments.int(1)?);
    let micros = cast(column, &DataType::Int64)?;
    let micros = micros.as_primitive::<Int64Type>();
    let cut = arguments.each::<i64, Int64Array>(|row| {
        let surplus = u32::try_from(6 - digits.value(row).clamp(0, 6)).unwrap_or(0);
        let micros = micros.value(row);
        Ok(Some(micros - micros.rem_euclid(10_i64.pow(surplus))))
    })?;
    Ok(cast(&cut, column.data_type())?)
}

/// The wall clock in the session's zone at an instant: `CAST(TIMESTAMP_LTZ AS TIMESTAMP)`.
pub(crate) fn local_of_instant() -> Definition {
    Definition::new("__local_of_instant", &[Moment], Returns::Timestamp, |arguments| {
        Ok(Arc::new(arguments.local(0)?))
    })
}

/// The instant at which the session's wall clock shows a time: `CAST(TIMESTAMP AS TIMESTAMP_LTZ)`.
pub(crate) fn instant_of_local() -> Definition {
    Definition::new("__instant_of_local", &[Moment], Returns::Instant, |arguments| {
        let local = arguments.local(0)?;
        Ok(Arc::new(to_instant(&local, arguments.zone)))
    })
}

/// `CAST(BOOLEAN AS STRING)`: `TRUE` or `FALSE`.
pub(crate) fn text_of_boolean() -> Definition {
    Definition::new("__text_of_boolean", &[Boolean], Returns::Text, |arguments| {
        let values = arguments.boolean(0)?;
        arguments
            .each_text(|row| Ok(Some(if values.value(row) { "TRUE" } else { "FALSE" }.to_owned())))
    })
}

/// `CAST(TIMESTAMP(p) AS STRING)` and of times and instants: a blank between date and time, `p`
/// digits of a second.
pub(crate) fn text_of_moment() -> Definition {
    Definition::new("__text_of_moment", &[Any, Int], Returns::Text, |arguments| {
        let digits = arguments.int(1)?;
        let column = arguments.any(0)?;
        let texts = texts(column, arguments.zone)?;
        arguments.each_text(|row| {
            let digits = usize::try_from(digits.value(row)).unwrap_or(0).min(9);
            Ok(texts(row).map(|text| shorten(&text, digits)))
        })
    })
}

type TextOfRow = Box<dyn Fn(usize) -> Option<String>>;

/// The text of each row with nine digits of a second.
fn texts(column: &ArrayRef, zone: SessionZone) -> Result<TextOfRow> {
    Ok(match column.data_type() {
        DataType::Time64(_) | DataType::Time32(_) => {
            let column = cast(column, &DataType::Time64(TimeUnit::Microsecond))?;
            let column: PrimitiveArray<Time64MicrosecondType> = column.as_primitive().clone();
            Box::new(move |row| {
                let micros = column.value(row);
                let seconds = u32::try_from(micros / 1_000_000).ok()?;
                let nanos = u32::try_from(micros % 1_000_000 * 1_000).ok()?;
                let time = NaiveTime::from_num_seconds_from_midnight_opt(seconds, nanos)?;
                Some(time.format("%H:%M:%S.%9f").to_string())
            })
        }
        DataType::Timestamp(unit, instant) => {
            let zone = if instant.is_some() { zone } else { UTC_ZONE };
            let column = match unit {
                TimeUnit::Nanosecond => cast(column, &DataType::Timestamp(*unit, None))?,
                _ => cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None))?,
            };
            let nanos = *unit == TimeUnit::Nanosecond;
            Box::new(move |row| {
                let utc = if nanos {
                    DateTime::from_timestamp_nanos(
                        column.as_primitive::<TimestampNanosecondType>().value(row),
                    )
                } else {
                    DateTime::from_timestamp_micros(
                        column.as_primitive::<TimestampMicrosecondType>().value(row),
                    )?
                };
                Some(zone.local(utc).format("%Y-%m-%d %H:%M:%S.%9f").to_string())
            })
        }
        other => return exec_err!("{other} is no point in time"),
    })
}

fn shorten(text: &str, digits: usize) -> String {
    match text.split_once('.') {
        Some((seconds, _)) if digits == 0 => seconds.to_owned(),
        Some((seconds, fraction)) => {
            format!("{seconds}.{}", fraction.chars().take(digits).collect::<String>())
        }
        None => text.to_owned(),
    }
}

/// The wall clock of `zone` at instants given in microseconds since 1970.
pub(super) fn to_local(
    instants: &TimestampMicrosecondArray,
    zone: SessionZone,
) -> TimestampMicrosecondArray {
    if zone == UTC_ZONE {
        return instants.clone();
    }
    instants.unary_opt(|micros| {
        let utc = DateTime::from_timestamp_micros(micros)?;
        Some(zone.local(utc).and_utc().timestamp_micros())
    })
}

/// The instants at which the wall clock of `zone` shows these times.
pub(super) fn to_instant(
    local: &TimestampMicrosecondArray,
    zone: SessionZone,
) -> TimestampMicrosecondArray {
    local
        .unary_opt(|micros| {
            let wall = DateTime::from_timestamp_micros(micros)?.naive_utc();
            Some(instant_micros(&wall, zone))
        })
        .with_timezone(UTC)
}

/// As Java: of two possible instants the earlier; a time in a gap moves on by the gap's length.
pub(super) fn instant_micros(wall: &NaiveDateTime, zone: SessionZone) -> i64 {
    match zone {
        SessionZone::Named(zone) => instant_in(wall, &zone),
        SessionZone::Fixed(offset) => instant_in(wall, &offset),
    }
}

fn instant_in<Zone: TimeZone>(wall: &NaiveDateTime, zone: &Zone) -> i64 {
    match zone.from_local_datetime(wall) {
        LocalResult::Single(instant) | LocalResult::Ambiguous(instant, _) => {
            instant.timestamp_micros()
        }
        LocalResult::None => {
            let before = *wall - TimeDelta::hours(3);
            let offset = zone.offset_from_utc_datetime(&before).fix().local_minus_utc();
            wall.and_utc().timestamp_micros() - i64::from(offset) * 1_000_000
        }
    }
}

/// Days since 1970 of each wall-clock time.
pub(super) fn to_date(local: &TimestampMicrosecondArray) -> PrimitiveArray<Date32Type> {
    let days: PrimitiveArray<Int32Type> =
        local.unary_opt(|micros| i32::try_from(micros.div_euclid(86_400_000_000)).ok());
    days.reinterpret_cast()
}
