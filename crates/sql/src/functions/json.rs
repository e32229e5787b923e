//! Functions over JSON text, for paths of member names and array indices: `$.a.b[0]['c d']`.
//!
//! Paths are lax, as Flink's are by default: what is not there is NULL.

use arrow::array::{ArrayRef, BooleanArray};
use datafusion::common::{Result, exec_err};
use serde_json::Value;

use super::Parameter::Text;
use super::{Arguments, Definition, Returns};

pub(super) fn definitions() -> Vec<Definition> {
    vec![
        Definition::new("json_value", &[Text, Text], Returns::Text, json_value),
        Definition::new("json_exists", &[Text, Text], Returns::Boolean, json_exists),
        Definition::new("is_json", &[Text], Returns::Boolean, is_json),
    ]
}

enum Step {
    Member(String),
    Element(usize),
}

/// The path used last: it is nearly always the same for all rows.
#[derive(Default)]
struct Paths(Option<(String, Vec<Step>)>);

impl Paths {
    fn get(&mut self, path: &str) -> Result<&[Step]> {
        let fresh = match self.0.take() {
            Some((known, steps)) if known == path => (known, steps),
            _ => match parse(path) {
                Some(steps) => (path.to_owned(), steps),
                None => {
                    return exec_err!(
                        "the JSON path '{path}' is not supported; use member names and array \
                         indices, for example $.a.b[0]"
                    );
                }
            },
        };
        Ok(&self.0.insert(fresh).1)
    }
}

fn parse(path: &str) -> Option<Vec<Step>> {
    let path = path.trim();
    let path = path.strip_prefix("lax ").unwrap_or(path).trim_start();
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(name) = rest.strip_prefix('.') {
            let end = name.find(['.', '[']).unwrap_or(name.len());
            let (name, after) = name.split_at_checked(end)?;
            if name.is_empty() || name == "*" {
                return None;
            }
            steps.push(Step::Member(name.to_owned()));
            rest = after;
        } else {
            let (inside, after) = rest.strip_prefix('[')?.split_once(']')?;
            steps.push(match inside.trim().strip_prefix('\'') {
                Some(name) => Step::Member(name.strip_suffix('\'')?.to_owned()),
                None => Step::Element(inside.trim().parse().ok()?),
            });
            rest = after;
        }
    }
    Some(steps)
}

fn find(text: &str, path: &[Step]) -> Option<Value> {
    let mut value: Value = serde_json::from_str(text).ok()?;
    for step in path {
        value = match step {
            Step::Member(name) => value.get_mut(name)?.take(),
            Step::Element(index) => value.get_mut(*index)?.take(),
        };
    }
    Some(value)
}

/// NULL for what is not there, for JSON's null, and for objects and arrays.
fn json_value(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (text, path) = (arguments.text(0)?, arguments.text(1)?);
    let mut paths = Paths::default();
    arguments.each_text(|row| {
        let path = paths.get(path.value(row))?;
        Ok(match find(text.value(row), path) {
            Some(Value::String(text)) => Some(text),
            Some(value @ (Value::Bool(_) | Value::Number(_))) => Some(value.to_string()),
            _ => None,
        })
    })
}

fn json_exists(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let (text, path) = (arguments.text(0)?, arguments.text(1)?);
    let mut paths = Paths::default();
    arguments.each::<bool, BooleanArray>(|row| {
        let path = paths.get(path.value(row))?;
        Ok(Some(find(text.value(row), path).is_some()))
    })
}

fn is_json(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let text = arguments.text(0)?;
    arguments.each::<bool, BooleanArray>(|row| {
        Ok(Some(serde_json::from_str::<Value>(text.value(row)).is_ok()))
    })
}
