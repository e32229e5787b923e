//! The parts of a path and of a query, read as Flink reads them.

use uuid::Uuid;

use crate::failure::{Failure, Outcome};
use crate::gateway::RowFormat;

/// A handle of a session or an operation.
pub(crate) fn handle(name: &str, value: &str) -> Outcome<Uuid> {
    Uuid::try_parse(value).map_err(|_| Failure::parameter("path", name, value))
}

/// The token of a page.
pub(crate) fn token(value: &str) -> Outcome<u64> {
    let token = value.parse::<i64>().ok().and_then(|token| u64::try_from(token).ok());
    token.ok_or_else(|| Failure::parameter("path", "token", value))
}

/// The format of rows that a query asks for; JSON if it asks for none.
pub(crate) fn row_format(query: Option<&str>) -> Outcome<RowFormat> {
    let Some(value) = query_value(query, "rowFormat") else { return Ok(RowFormat::Json) };
    RowFormat::parse(&value).ok_or_else(|| Failure::parameter("query", "rowFormat", &value))
}

/// The first value of a key in the query part of a path.
pub(crate) fn query_value(query: Option<&str>, key: &str) -> Option<String> {
    let pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(name, _)| *name == key).map(|(_, value)| decoded(value))
}

/// A text with its `%xx` replaced; what is no valid text stays as it is.
pub(crate) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| others.get(..2)).flatten();
        let code = escaped.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = others.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = others;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_taken_apart() {
        assert_eq!(query_value(Some("a=1&b=%C3%B6+x"), "b").as_deref(), Some("ö x"));
        assert_eq!(query_value(Some("a"), "a"), None);
        assert_eq!(decoded("%"), "%");
        assert_eq!(decoded("%zz"), "%zz");
        assert_eq!(row_format(Some("rowFormat=json")).ok(), Some(RowFormat::Json));
        assert!(row_format(Some("rowFormat=XML")).is_err());
        assert!(token("-1").is_err());
    }
}
