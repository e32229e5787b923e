//! Functions over dates, time stamps and instants. Instants are seen in the session's time zone.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int32Array, Int64Array, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, Timelike};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err, internal_err};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::Parameter::{BigInt, Int, Moment, Text};
use super::moment::{instant_micros, to_date, to_instant, to_local};
use super::time_pattern::{DEFAULT, TimePattern};
use super::{Arguments, Definition, Returns, UTC, zone_of};
use crate::session::SessionZone;

type Part = fn(&Arguments<'_>) -> Result<ArrayRef>;

pub(super) fn definitions() -> Vec<Definition> {
    let mut all = vec![
        Definition::new("date_format", &[Moment, Text], Returns::Text, date_format),
        Definition::new("to_date", &[Text, Text], Returns::Date, text_to_date).required(1),
        Definition::new("to_timestamp", &[Text, Text], Returns::Timestamp, to_timestamp)
            .required(1),
        Definition::new("to_timestamp_ltz", &[BigInt, Int], Returns::Instant, to_timestamp_ltz)
            .required(1),
        Definition::new("from_unixtime", &[BigInt, Text], Returns::Text, from_unixtime).required(1),
        Definition::new("unix_timestamp", &[Text, Text], Returns::BigInt, unix_timestamp)
            .required(1),
        Definition::new("convert_tz", &[Text, Text, Text], Returns::Text, convert_tz),
        Definition::new("extract", &[Text, Moment], Returns::BigInt, extract),
        Definition::new("timestampdiff", &[Text, Moment, Moment], Returns::Int, difference),
        Definition::new("timestampadd", &[Text, Int, Moment], Returns::Derived(shifted), add),
        Definition::new("__floor_to", &[Text, Moment], Returns::Timestamp, floor_to),
        Definition::new("__ceil_to", &[Text, Moment], Returns::Timestamp, ceil_to),
    ];
    let parts: [(&'static str, Part); 10] = [
        ("year", |arguments| part(arguments, "YEAR")),
        ("quarter", |arguments| part(arguments, "QUARTER")),
        ("month", |arguments| part(arguments, "MONTH")),
        ("week", |arguments| part(arguments, "WEEK")),
        ("dayofyear", |arguments| part(arguments, "DOY")),
        ("dayofmonth", |arguments| part(arguments, "DAY")),
        ("dayofweek", |arguments| part(arguments, "DOW")),
        ("hour", |arguments| part(arguments, "HOUR")),
        ("minute", |arguments| part(arguments, "MINUTE")),
        ("second", |arguments| part(arguments, "SECOND")),
    ];
    all.extend(
        parts
            .into_iter()
            .map(|(name, evaluate)| Definition::new(name, &[Moment], Returns::BigInt, evaluate)),
    );
    all
}

fn wall(micros: i64) -> Option<NaiveDateTime> {
    DateTime::from_timestamp_micros(micros).map(|moment| moment.naive_utc())
}

fn micros(moment: &NaiveDateTime) -> i64 {
    moment.and_utc().timestamp_micros()
}

/// The pattern used last: it is nearly always the same for all rows.
#[derive(Default)]
struct Patterns(Option<(String, TimePattern)>);

impl Patterns {
    fn get(&mut self, pattern: &str) -> Result<&TimePattern> {
        let fresh = match self.0.take() {
            Some((known, parsed)) if known == pattern => (known, parsed),
            _ => (pattern.to_owned(), TimePattern::parse(pattern)?),
        };
        Ok(&self.0.insert(fresh).1)
    }
}

fn date_format(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (moments, pattern) = (arguments.local(0)?, arguments.text(1)?);
    let mut patterns = Patterns::default();
    arguments.each_text(|row| {
        let pattern = patterns.get(pattern.value(row))?;
        Ok(wall(moments.value(row)).map(|moment| pattern.print(&moment)))
    })
}

/// Reads texts by the pattern in the second argument; NULL where a text does not fit.
fn read(arguments: &Arguments<'_>, default: &str) -> Result<TimestampMicrosecondArray> {
    let text = arguments.text(0)?;
    let pattern = if arguments.count() > 1 { Some(arguments.text(1)?) } else { None };
    let mut patterns = Patterns::default();
    (0..arguments.rows)
        .map(|row| {
            if arguments.has_null(row) {
                return Ok(None);
            }
            let pattern = patterns.get(pattern.map_or(default, |pattern| pattern.value(row)))?;
            Ok(pattern.read(text.value(row)).map(|moment| micros(&moment)))
        })
        .collect()
}

fn text_to_date(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    Ok(Arc::new(to_date(&read(arguments, "yyyy-MM-dd")?)))
}

/// Without a pattern, a fraction of a second and a missing time of day are read too.
fn to_timestamp(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    if arguments.count() > 1 {
        return Ok(Arc::new(read(arguments, DEFAULT)?));
    }
    Ok(cast(arguments.any(0)?, arguments.return_type)?)
}

fn to_timestamp_ltz(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let number = arguments.big_int(0)?;
    let precision = if arguments.count() > 1 { Some(arguments.int(1)?) } else { None };
    let instants: TimestampMicrosecondArray = (0..arguments.rows)
        .map(|row| {
            if arguments.has_null(row) {
                return Ok(None);
            }
            match precision.map_or(3, |precision| precision.value(row)) {
                0 => Ok(number.value(row).checked_mul(1_000_000)),
                3 => Ok(number.value(row).checked_mul(1_000)),
                other => exec_err!(
                    "The precision value '{other}' for function TO_TIMESTAMP_LTZ(numeric, \
                     precision) is unsupported, the supported value is '0' for second or '3' for \
                     millisecond."
                ),
            }
        })
        .collect::<Result<_>>()?;
    Ok(Arc::new(instants.with_timezone(UTC)))
}

fn from_unixtime(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let seconds = arguments.big_int(0)?;
    let pattern = if arguments.count() > 1 { Some(arguments.text(1)?) } else { None };
    let instants: TimestampMicrosecondArray =
        seconds.unary_opt(|seconds| seconds.checked_mul(1_000_000));
    let moments = to_local(&instants, arguments.zone);
    let mut patterns = Patterns::default();
    arguments.each_text(|row| {
        let pattern = patterns.get(pattern.map_or(DEFAULT, |pattern| pattern.value(row)))?;
        let moment = moments.is_valid(row).then(|| wall(moments.value(row))).flatten();
        Ok(moment.map(|moment| pattern.print(&moment)))
    })
}

/// A text that does not fit gives Flink's answer, the least BIGINT.
fn unix_timestamp(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let instants = to_instant(&read(arguments, DEFAULT)?, arguments.zone);
    arguments.each::<i64, Int64Array>(|row| {
        let valid = instants.is_valid(row);
        Ok(Some(if valid { instants.value(row).div_euclid(1_000_000) } else { i64::MIN }))
    })
}

fn convert_tz(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (text, from, to) = (arguments.text(0)?, arguments.text(1)?, arguments.text(2)?);
    let pattern = TimePattern::parse(DEFAULT)?;
    arguments.each_text(|row| {
        let (from, to) = (zone_of(Some(from.value(row)))?, zone_of(Some(to.value(row)))?);
        let Some(moment) = pattern.read(text.value(row)) else { return Ok(None) };
        let instant = DateTime::from_timestamp_micros(instant_micros(&moment, from));
        Ok(instant.map(|instant| pattern.print(&to.local(instant))))
    })
}

fn part(arguments: &Arguments<'_>, unit: &str) -> Result<ArrayRef> {
    let moments = arguments.local(0)?;
    arguments
        .each::<i64, Int64Array>(|row| wall(moments.value(row)).map(|m| of(&m, unit)).transpose())
}

fn extract(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (unit, moments) = (arguments.text(0)?, arguments.local(1)?);
    arguments.each::<i64, Int64Array>(|row| {
        let unit = unit.value(row).to_ascii_uppercase();
        wall(moments.value(row)).map(|moment| of(&moment, &unit)).transpose()
    })
}

/// Weeks are ISO's; the week's first day is Sunday, number 1.
fn of(moment: &NaiveDateTime, unit: &str) -> Result<i64> {
    let nanos = i64::from(moment.nanosecond());
    let year = i64::from(moment.year());
    Ok(match unit {
        "YEAR" => year,
        "ISOYEAR" => i64::from(moment.iso_week().year()),
        "QUARTER" => i64::from(moment.month0() / 3 + 1),
        "MONTH" => i64::from(moment.month()),
        "WEEK" => i64::from(moment.iso_week().week()),
        "DAY" => i64::from(moment.day()),
        "DOY" => i64::from(moment.ordinal()),
        "DOW" => i64::from(moment.weekday().num_days_from_sunday() + 1),
        "ISODOW" => i64::from(moment.weekday().num_days_from_monday() + 1),
        "HOUR" => i64::from(moment.hour()),
        "MINUTE" => i64::from(moment.minute()),
        "SECOND" => i64::from(moment.second()),
        "MILLISECOND" => i64::from(moment.second()) * 1_000 + nanos / 1_000_000,
        "MICROSECOND" => i64::from(moment.second()) * 1_000_000 + nanos / 1_000,
        "NANOSECOND" => i64::from(moment.second()) * 1_000_000_000 + nanos,
        "EPOCH" => moment.and_utc().timestamp(),
        "DECADE" => year.div_euclid(10),
        "CENTURY" => (year + 99).div_euclid(100),
        "MILLENNIUM" => (year + 999).div_euclid(1_000),
        other => return exec_err!("'{other}' is no unit of time; use for example YEAR, DAY, HOUR"),
    })
}

/// Microseconds of a unit of fixed length, or months of one that has none.
enum Unit {
    Micros(i64),
    Months(i32),
}

fn unit(name: &str) -> Result<Unit> {
    let name = name.to_ascii_uppercase();
    Ok(match name.strip_prefix("SQL_TSI_").unwrap_or(&name) {
        "MICROSECOND" => Unit::Micros(1),
        "MILLISECOND" => Unit::Micros(1_000),
        "SECOND" => Unit::Micros(1_000_000),
        "MINUTE" => Unit::Micros(60_000_000),
        "HOUR" => Unit::Micros(3_600_000_000),
        "DAY" => Unit::Micros(86_400_000_000),
        "WEEK" => Unit::Micros(7 * 86_400_000_000),
        "MONTH" => Unit::Months(1),
        "QUARTER" => Unit::Months(3),
        "YEAR" => Unit::Months(12),
        other => return exec_err!("'{other}' is no unit of time; use for example YEAR, DAY, HOUR"),
    })
}

fn difference(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (units, from, to) = (arguments.text(0)?, arguments.local(1)?, arguments.local(2)?);
    arguments.each::<i32, Int32Array>(|row| {
        let (from, to) = (from.value(row), to.value(row));
        let count = match unit(units.value(row))? {
            Unit::Micros(len) => (to - from) / len,
            Unit::Months(len) => match (wall(from), wall(to)) {
                (Some(from), Some(to)) => i64::from(whole_months(&from, &to) / len),
                _ => return Ok(None),
            },
        };
        i32::try_from(count).map(Some).map_err(|_| out_of_range())
    })
}

fn out_of_range() -> DataFusionError {
    DataFusionError::Execution("a difference of times is out of the range of INT".to_owned())
}

fn whole_months(from: &NaiveDateTime, to: &NaiveDateTime) -> i32 {
    let months = |m: &NaiveDateTime| m.year() * 12 + i32::try_from(m.month0()).unwrap_or(0);
    let rest = |m: &NaiveDateTime| (m.day(), m.time());
    let whole = months(to) - months(from);
    match whole {
        whole if whole > 0 && rest(to) < rest(from) => whole - 1,
        whole if whole < 0 && rest(to) > rest(from) => whole + 1,
        whole => whole,
    }
}

fn shift_months(moment: NaiveDateTime, months: i64) -> Option<NaiveDateTime> {
    let count = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
    if months < 0 { moment.checked_sub_months(count) } else { moment.checked_add_months(count) }
}

/// A date shifted by days or more stays a date; an instant stays an instant.
fn shifted(arguments: &[DataType], _: &[Option<&ScalarValue>]) -> Result<DataType> {
    Ok(match arguments.get(2) {
        Some(DataType::Timestamp(_, Some(_))) => {
            DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
        }
        _ => DataType::Timestamp(TimeUnit::Microsecond, None),
    })
}

fn add(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (units, count, moments) = (arguments.text(0)?, arguments.int(1)?, arguments.local(2)?);
    let sums: TimestampMicrosecondArray = (0..arguments.rows)
        .map(|row| {
            if arguments.has_null(row) {
                return Ok(None);
            }
            let (count, moment) = (i64::from(count.value(row)), moments.value(row));
            Ok(match unit(units.value(row))? {
                Unit::Micros(len) => len.checked_mul(count).and_then(|by| moment.checked_add(by)),
                Unit::Months(len) => wall(moment)
                    .and_then(|moment| shift_months(moment, count * i64::from(len)))
                    .map(|moment| micros(&moment)),
            })
        })
        .collect::<Result<_>>()?;
    Ok(match arguments.return_type {
        DataType::Timestamp(_, Some(_)) => Arc::new(to_instant(&sums, arguments.zone)),
        _ => Arc::new(sums),
    })
}

fn floor_to(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (units, moments) = (arguments.text(0)?, arguments.local(1)?);
    arguments.each::<i64, TimestampMicrosecondArray>(|row| {
        floor_micros(moments.value(row), units.value(row))
    })
}

fn ceil_to(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (units, moments) = (arguments.text(0)?, arguments.local(1)?);
    arguments.each::<i64, TimestampMicrosecondArray>(|row| {
        let (moment, name) = (moments.value(row), units.value(row));
        let floor = floor_micros(moment, name)?;
        if floor == Some(moment) {
            return Ok(floor);
        }
        let Some(floor) = floor.and_then(wall) else { return Ok(None) };
        let next = match unit(name)? {
            Unit::Micros(len) => return Ok(micros(&floor).checked_add(len)),
            Unit::Months(len) => shift_months(floor, i64::from(len)),
        };
        Ok(next.map(|next| micros(&next)))
    })
}

/// The start of the unit that a time is in. Weeks start on Sunday.
fn floor_micros(moment: i64, name: &str) -> Result<Option<i64>> {
    let Some(time) = wall(moment) else { return Ok(None) };
    let month = |month0: u32| NaiveDate::from_ymd_opt(time.year(), month0 + 1, 1);
    let date = match name.to_ascii_uppercase().as_str() {
        "YEAR" => month(0),
        "QUARTER" => month(time.month0() / 3 * 3),
        "MONTH" => month(time.month0()),
        "WEEK" => {
            let since = u64::from(time.weekday().num_days_from_sunday());
            time.date().checked_sub_days(Days::new(since))
        }
        other => {
            return Ok(match unit(other)? {
                Unit::Micros(len) => Some(moment - moment.rem_euclid(len)),
                Unit::Months(_) => None,
            });
        }
    };
    Ok(date.and_then(|date| date.and_hms_opt(0, 0, 0)).map(|start| micros(&start)))
}

/// The functions that read the clock: one value for a whole batch query, refused in streaming.
pub(super) fn clock_functions() -> Vec<(String, Arc<ScalarUDF>)> {
    [
        ("current_timestamp", Clock::Instant),
        ("now", Clock::Instant),
        ("current_row_timestamp", Clock::Instant),
        ("proctime", Clock::Instant),
        ("localtimestamp", Clock::Wall),
        ("current_date", Clock::Date),
        ("localtime", Clock::Time),
        ("current_time", Clock::Time),
    ]
    .into_iter()
    .map(|(name, clock)| {
        let signature = Signature::nullary(Volatility::Stable);
        let function = ClockFunction { name, clock, signature };
        (name.to_owned(), Arc::new(ScalarUDF::new_from_impl(function)))
    })
    .collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Clock {
    Instant,
    Wall,
    Date,
    Time,
}

#[derive(Debug)]
struct ClockFunction {
    name: &'static str,
    clock: Clock,
    signature: Signature,
}

impl PartialEq for ClockFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for ClockFunction {}

impl Hash for ClockFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ClockFunction {
    fn at(&self, instant_micros: i64, zone: SessionZone) -> Result<ScalarValue> {
        let instant: ArrayRef =
            Arc::new(TimestampMicrosecondArray::from(vec![instant_micros / 1_000 * 1_000]));
        let instants = instant.as_any().downcast_ref::<TimestampMicrosecondArray>();
        let Some(instants) = instants else { return internal_err!("no time stamp") };
        let local: ArrayRef = Arc::new(to_local(instants, zone));
        let value = match self.clock {
            Clock::Instant => Arc::new(instants.clone().with_timezone(UTC)) as ArrayRef,
            Clock::Wall => local,
            Clock::Date | Clock::Time => cast(&local, &self.return_type(&[])?)?,
        };
        ScalarValue::try_from_array(&value, 0)
    }
}

impl ScalarUDFImpl for ClockFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.clock {
            Clock::Instant => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
            Clock::Wall => DataType::Timestamp(TimeUnit::Microsecond, None),
            Clock::Date => DataType::Date32,
            Clock::Time => DataType::Time64(TimeUnit::Microsecond),
        })
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("{} was not replaced by its value at planning", self.name)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let Some(now) = info.query_execution_start_time() else {
            return Ok(ExprSimplifyResult::Original(args));
        };
        let zone = zone_of(info.config_options().execution.time_zone.as_deref())?;
        let value = self.at(now.timestamp_micros(), zone)?;
        Ok(ExprSimplifyResult::Simplified(Expr::Literal(value, None)))
    }
}
