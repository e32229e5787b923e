//! `SET` and `RESET`, which take text that is not SQL: `SET execution.checkpointing.interval = 3s`.

use crate::diagnostic::{Diagnostic, Span};
use crate::statement::Statement;

/// Parses `SET` and `RESET`; `None` if the text is another statement.
pub(super) fn parse(text: &str) -> Result<Option<Statement>, Diagnostic> {
    let body = skip_comments(text);
    let Some((word, rest)) = split_word(body) else {
        return Ok(None);
    };
    let rest = rest.trim_start();
    let rest = rest.trim_end().strip_suffix(';').unwrap_or(rest).trim_end();
    if word.eq_ignore_ascii_case("SET") {
        if rest.is_empty() {
            return Ok(Some(Statement::SetList));
        }
        return parse_set(text, rest).map(Some);
    }
    if word.eq_ignore_ascii_case("RESET") {
        if rest.is_empty() {
            return Ok(Some(Statement::Reset(None)));
        }
        let (key, behind) = key(text, rest)?;
        return if behind.trim().is_empty() {
            Ok(Some(Statement::Reset(Some(key))))
        } else {
            Err(wrong(text, behind.trim_start(), "the end of the statement"))
        };
    }
    Ok(None)
}

fn parse_set(text: &str, rest: &str) -> Result<Statement, Diagnostic> {
    let (key, behind) = key(text, rest)?;
    let behind = behind.trim_start();
    let Some(value) = behind.strip_prefix('=') else {
        return Err(wrong(text, behind, "="));
    };
    let value = value.trim_start();
    let (value, behind) = match quoted(text, value)? {
        Some(found) => found,
        None => {
            let end = value.find([';', ' ', '\t', '\r', '\n']).unwrap_or(value.len());
            let (value, behind) = value.split_at(end);
            if value.is_empty() {
                return Err(wrong(text, value, "a value"));
            }
            (value.to_owned(), behind)
        }
    };
    if behind.trim().is_empty() {
        Ok(Statement::Set { key, value })
    } else {
        Err(wrong(text, behind.trim_start(), "the end of the statement")
            .with_hint("Put a value with spaces in single quotes."))
    }
}

/// A key in quotes, or everything up to `=` or white space.
fn key<'a>(text: &str, rest: &'a str) -> Result<(String, &'a str), Diagnostic> {
    if let Some(found) = quoted(text, rest)? {
        return Ok(found);
    }
    let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
    let (key, behind) = rest.split_at(end);
    if key.is_empty() {
        return Err(wrong(text, rest, "a key"));
    }
    Ok((key.to_owned(), behind))
}

/// A string in single quotes at the start of `rest`, and what is behind it.
fn quoted<'a>(text: &str, rest: &'a str) -> Result<Option<(String, &'a str)>, Diagnostic> {
    let Some(mut remaining) = rest.strip_prefix('\'') else {
        return Ok(None);
    };
    let mut value = String::new();
    loop {
        let Some((part, behind)) = remaining.split_once('\'') else {
            return Err(wrong(text, rest, "a closing quote"));
        };
        value.push_str(part);
        match behind.strip_prefix('\'') {
            Some(behind) => {
                value.push('\'');
                remaining = behind;
            }
            None => return Ok(Some((value, behind))),
        }
    }
}

/// An error at `part`, which is a part of `text` up to its end.
fn wrong(text: &str, part: &str, expected: &str) -> Diagnostic {
    let whole = text.trim_end();
    let whole = whole.strip_suffix(';').unwrap_or(whole).trim_end();
    let start = whole.len().saturating_sub(part.trim_end().len());
    let found = part.split_whitespace().next().unwrap_or("<EOF>");
    Diagnostic::syntax(format!("Encountered \"{found}\". Was expecting: {expected}."))
        .at(Span { start, end: (start + found.len()).min(text.len()).max(start) })
}

/// The text without white space and comments at its start.
fn skip_comments(text: &str) -> &str {
    let mut rest = text.trim_start();
    loop {
        let behind = if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, behind)| behind)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, behind)| behind)
        } else {
            return rest;
        };
        rest = behind.trim_start();
    }
}

fn split_word(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end)?;
    let separated = rest.chars().next().is_none_or(|c| c.is_whitespace() || c == ';' || c == '\'');
    separated.then_some((word, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> (String, String) {
        match parse(text) {
            Ok(Some(Statement::Set { key, value })) => (key, value),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn values_may_be_quoted_or_not() {
        let interval = ("execution.checkpointing.interval".to_owned(), "3s".to_owned());
        assert_eq!(set("SET execution.checkpointing.interval = 3s;"), interval);
        assert_eq!(set("-- c;\n/* d */ set 'execution.checkpointing.interval'='3s'"), interval);
        assert_eq!(set("SET a.b=file:///c--d?e=f;").1, "file:///c--d?e=f");
        assert_eq!(set("SET 'a' = 'it''s; so'").1, "it's; so");
        assert_eq!(set("SET 'a' = ''").1, "");
    }

    #[test]
    fn lists_and_resets() {
        assert_eq!(parse("SET").unwrap(), Some(Statement::SetList));
        assert_eq!(parse(" set ; ").unwrap(), Some(Statement::SetList));
        assert_eq!(parse("RESET;").unwrap(), Some(Statement::Reset(None)));
        assert_eq!(parse("RESET 'a.b';").unwrap(), Some(Statement::Reset(Some("a.b".into()))));
        assert_eq!(parse("RESET a.b").unwrap(), Some(Statement::Reset(Some("a.b".into()))));
        assert_eq!(parse("SELECT 1").unwrap(), None);
        assert_eq!(parse("SETTLE 1").unwrap(), None);
    }

    #[test]
    fn mistakes_have_a_place() {
        for (text, mark) in
            [("SET a b c;", "b"), ("SET a = b c;", "c"), ("RESET a b", "b"), ("SET 'a' = 'b", "'b")]
        {
            let error = parse(text).unwrap_err();
            assert_eq!(error.span.map(|span| span.slice(text)), Some(mark), "{text}");
        }
    }
}
