//! Functions over regular expressions, in Java's syntax as far as look-around and back-references go.

use arrow::array::{ArrayRef, BooleanArray, Int32Array};
use datafusion::common::{DataFusionError, Result, exec_err};
use fancy_regex::Regex;

use super::Parameter::{Int, Text};
use super::{Arguments, Definition, Returns};

pub(super) fn definitions() -> Vec<Definition> {
    vec![
        Definition::new("regexp", &[Text, Text], Returns::Boolean, regexp),
        Definition::new("regexp_extract", &[Text, Text, Int], Returns::Text, regexp_extract)
            .required(2),
        Definition::new("regexp_replace", &[Text, Text, Text], Returns::Text, regexp_replace),
        Definition::new("regexp_count", &[Text, Text], Returns::Int, regexp_count),
        Definition::new("regexp_instr", &[Text, Text], Returns::Int, regexp_instr),
        Definition::new("regexp_substr", &[Text, Text], Returns::Text, regexp_substr),
    ]
}

/// The expression compiled last: an expression is nearly always the same for all rows.
#[derive(Default)]
struct Compiled(Option<(String, Regex)>);

impl Compiled {
    fn get(&mut self, pattern: &str) -> Result<&Regex> {
        let fresh = match self.0.take() {
            Some((known, regex)) if known == pattern => (known, regex),
            _ => {
                let regex = Regex::new(pattern).map_err(|error| {
                    DataFusionError::Execution(format!("invalid regular expression: {error}"))
                })?;
                (pattern.to_owned(), regex)
            }
        };
        Ok(&self.0.insert(fresh).1)
    }
}

/// A match that gives up (catastrophic back-tracking) is an error, never a hang.
fn tried<T>(result: std::result::Result<T, fancy_regex::Error>) -> Result<T> {
    match result {
        Ok(value) => Ok(value),
        Err(_) => exec_err!(
            "a regular expression needs too many steps on a value; make it simpler, for example \
             without nested repetition"
        ),
    }
}

fn regexp(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (text, pattern) = (arguments.text(0)?, arguments.text(1)?);
    let mut compiled = Compiled::default();
    arguments.each::<bool, BooleanArray>(|row| {
        tried(compiled.get(pattern.value(row))?.is_match(text.value(row))).map(Some)
    })
}

fn regexp_extract(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (text, pattern) = (arguments.text(0)?, arguments.text(1)?);
    let group = if arguments.count() > 2 { Some(arguments.int(2)?) } else { None };
    let mut compiled = Compiled::default();
    arguments.each_text(|row| {
        let Ok(group) = usize::try_from(group.map_or(0, |group| group.value(row))) else {
            return Ok(None);
        };
        let found = tried(compiled.get(pattern.value(row))?.captures(text.value(row)))?;
        Ok(found.and_then(|found| found.get(group).map(|part| part.as_str().to_owned())))
    })
}

/// Replaces every match; `$1` in the replacement stands for a group.
fn regexp_replace(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (text, pattern, with) = (arguments.text(0)?, arguments.text(1)?, arguments.text(2)?);
    let mut compiled = Compiled::default();
    arguments.each_text(|row| {
        let regex = compiled.get(pattern.value(row))?;
        // Java reads `$1x` as group 1 and `x`; this crate would look for a group named `1x`.
        let with = braced_groups(with.value(row));
        Ok(Some(tried(regex.try_replacen(text.value(row), 0, with.as_str()))?.into_owned()))
    })
}

fn braced_groups(replacement: &str) -> String {
    let mut braced = String::with_capacity(replacement.len());
    let mut chars = replacement.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('$') => braced.push_str("$$"),
                Some(escaped) => braced.push(escaped),
                None => {}
            },
            '$' if chars.peek().is_some_and(char::is_ascii_digit) => {
                braced.push_str("${");
                while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                    braced.push(digit);
                }
                braced.push('}');
            }
            c => braced.push(c),
        }
    }
    braced
}

fn regexp_count(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (text, pattern) = (arguments.text(0)?, arguments.text(1)?);
    let mut compiled = Compiled::default();
    arguments.each::<i32, Int32Array>(|row| {
        let mut count = 0_i32;
        for found in compiled.get(pattern.value(row))?.find_iter(text.value(row)) {
            tried(found)?;
            count = count.saturating_add(1);
        }
        Ok(Some(count))
    })
}

fn regexp_instr(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (text, pattern) = (arguments.text(0)?, arguments.text(1)?);
    let mut compiled = Compiled::default();
    arguments.each::<i32, Int32Array>(|row| {
        let text = text.value(row);
        let found = tried(compiled.get(pattern.value(row))?.find(text))?;
        Ok(Some(found.map_or(0, |found| {
            let before = text.get(..found.start()).unwrap_or_default().chars().count();
            i32::try_from(before + 1).unwrap_or(i32::MAX)
        })))
    })
}

fn regexp_substr(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (text, pattern) = (arguments.text(0)?, arguments.text(1)?);
    let mut compiled = Compiled::default();
    arguments.each_text(|row| {
        let found = tried(compiled.get(pattern.value(row))?.find(text.value(row)))?;
        Ok(found.map(|found| found.as_str().to_owned()))
    })
}
