//! Functions over text. Positions count characters from 1, as in SQL.

use arrow::array::{Array, ArrayRef, BooleanArray, Int32Array, StringArray};
use datafusion::common::Result;
use std::sync::Arc;

use super::Parameter::{Any, BigInt, Int, Text};
use super::{Arguments, Definition, Returns};
use crate::planner::from_arrow;

pub(super) fn definitions() -> Vec<Definition> {
    let substring = Definition::new("substring", &[Text, Int, Int], Returns::Text, substring);
    let locate = Definition::new("locate", &[Text, Text, Int], Returns::Int, locate);
    vec![
        Definition::new("concat", &[Text], Returns::Text, concat).variadic(),
        Definition::new("concat_ws", &[Text, Text], Returns::Text, concat_ws)
            .required(1)
            .variadic(),
        substring.clone().required(2),
        substring.required(2).named("substr"),
        locate.clone().required(2),
        locate.required(2).named("position"),
        Definition::new("instr", &[Text, Text], Returns::Int, instr),
        Definition::new("split_index", &[Text, Text, Int], Returns::Text, split_index),
        Definition::new("ascii", &[Text], Returns::Int, ascii),
        Definition::new("chr", &[BigInt], Returns::Text, chr),
        Definition::new("startswith", &[Text, Text], Returns::Boolean, starts_with),
        Definition::new("endswith", &[Text, Text], Returns::Boolean, ends_with),
        Definition::new("translate", &[Text, Text, Text], Returns::Text, translate),
        Definition::new("typeof", &[Any], Returns::Text, type_of),
    ]
}

/// NULL if any argument is NULL, unlike DataFusion's function of that name.
fn concat(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let columns =
        (0..arguments.count()).map(|place| arguments.text(place)).collect::<Result<Vec<_>>>()?;
    arguments.each_text(|row| Ok(Some(columns.iter().map(|column| column.value(row)).collect())))
}

/// Passes over NULL arguments; NULL only if the separator is.
fn concat_ws(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let columns =
        (0..arguments.count()).map(|place| arguments.text(place)).collect::<Result<Vec<_>>>()?;
    let Some((separators, columns)) = columns.split_first() else {
        return Ok(Arc::new(StringArray::new_null(arguments.rows)));
    };
    let joined = (0..arguments.rows).map(|row| {
        separators.is_valid(row).then(|| {
            let parts: Vec<&str> = columns
                .iter()
                .filter(|column| column.is_valid(row))
                .map(|column| column.value(row))
                .collect();
            parts.join(separators.value(row))
        })
    });
    Ok(Arc::new(joined.collect::<StringArray>()))
}

fn substring(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (text, start) = (arguments.text(0)?, arguments.int(1)?);
    let len = if arguments.count() > 2 { Some(arguments.int(2)?) } else { None };
    arguments.each_text(|row| {
        let len = len.map(|len| len.value(row));
        Ok(cut(text.value(row), start.value(row), len))
    })
}

/// A start of 0 counts as 1; a negative start counts from the end, as in Flink.
fn cut(text: &str, start: i32, len: Option<i32>) -> Option<String> {
    let count = i64::try_from(text.chars().count()).ok()?;
    let len = len.map_or(i64::MAX, i64::from);
    if len < 0 {
        return None;
    }
    let start = match i64::from(start) {
        0 => 0,
        start if start > 0 => start - 1,
        start if -start > count => return Some(String::new()),
        start => count + start,
    };
    let skip = usize::try_from(start).ok()?;
    let take = usize::try_from(len.min(count)).ok()?;
    Some(text.chars().skip(skip).take(take).collect())
}

fn locate(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (part, text) = (arguments.text(0)?, arguments.text(1)?);
    let from = if arguments.count() > 2 { Some(arguments.int(2)?) } else { None };
    arguments.each::<i32, Int32Array>(|row| {
        let from = from.map_or(1, |from| from.value(row));
        Ok(Some(find(part.value(row), text.value(row), from)))
    })
}

fn instr(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (text, part) = (arguments.text(0)?, arguments.text(1)?);
    arguments.each::<i32, Int32Array>(|row| Ok(Some(find(part.value(row), text.value(row), 1))))
}

/// Where `part` first occurs at or after character `from`, counted from 1; 0 if it does not.
fn find(part: &str, text: &str, from: i32) -> i32 {
    let Some(skip) = usize::try_from(from).ok().and_then(|from| from.checked_sub(1)) else {
        return 0;
    };
    let rest: String = text.chars().skip(skip).collect();
    if skip > text.chars().count() {
        return 0;
    }
    rest.split_once(part).map_or(0, |(before, _)| {
        i32::try_from(skip + before.chars().count() + 1).unwrap_or(i32::MAX)
    })
}

fn split_index(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (text, separator, index) = (arguments.text(0)?, arguments.text(1)?, arguments.int(2)?);
    arguments.each_text(|row| {
        let Ok(index) = usize::try_from(index.value(row)) else { return Ok(None) };
        Ok(text.value(row).split(separator.value(row)).nth(index).map(str::to_owned))
    })
}

fn ascii(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let text = arguments.text(0)?;
    arguments.each::<i32, Int32Array>(|row| {
        Ok(Some(text.value(row).bytes().next().map_or(0, i32::from)))
    })
}

/// The character of a code; only its lowest eight bits count, and negative codes give an empty text.
fn chr(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let code = arguments.big_int(0)?;
    arguments.each_text(|row| {
        let code = code.value(row);
        let low = u8::try_from(code & 0xff).unwrap_or(0);
        Ok(Some(if code < 0 { String::new() } else { char::from(low).to_string() }))
    })
}

fn starts_with(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (text, part) = (arguments.text(0)?, arguments.text(1)?);
    arguments
        .each::<bool, BooleanArray>(|row| Ok(Some(text.value(row).starts_with(part.value(row)))))
}

fn ends_with(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (text, part) = (arguments.text(0)?, arguments.text(1)?);
    arguments.each::<bool, BooleanArray>(|row| Ok(Some(text.value(row).ends_with(part.value(row)))))
}

fn translate(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (text, from, to) = (arguments.text(0)?, arguments.text(1)?, arguments.text(2)?);
    arguments.each_text(|row| {
        let from: Vec<char> = from.value(row).chars().collect();
        let to: Vec<char> = to.value(row).chars().collect();
        let translated = text.value(row).chars().filter_map(|c| {
            match from.iter().position(|candidate| *candidate == c) {
                Some(place) => to.get(place).copied(),
                None => Some(c),
            }
        });
        Ok(Some(translated.collect()))
    })
}

/// The name of the argument's type.
fn type_of(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let name = from_arrow(arguments.any(0)?.data_type())
        .map_or_else(|| "NULL".to_owned(), |data_type| data_type.to_string());
    Ok(Arc::new(StringArray::from(vec![name; arguments.rows])))
}
