//! The words of Flink SQL: how text becomes tokens.
//!
//! Strings stand in single quotes, a doubled quote is one quote, a backslash is itself. Identifiers
//! stand in back-ticks or are letters, digits, `_`, `$`; case matters. Places are kept in bytes.

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    ObjectName, ObjectNamePart,
};
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{
    Location, Token, TokenWithSpan, Tokenizer, Whitespace, Word,
};

use crate::diagnostic::{Diagnostic, Span};

/// Flink SQL for `sqlparser`.
#[derive(Debug)]
pub(crate) struct FlinkDialect;

impl Dialect for FlinkDialect {
    fn dialect(&self) -> TypeId {
        TypeId::of::<Self>()
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`'
    }

    fn identifier_quote_style(&self, _identifier: &str) -> Option<char> {
        Some('`')
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_' || ch == '$'
    }

    fn supports_unicode_string_literal(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_match_recognize(&self) -> bool {
        true
    }

    fn supports_window_clause_named_window_reference(&self) -> bool {
        true
    }

    fn require_interval_qualifier(&self) -> bool {
        true
    }

    fn supports_boolean_literals(&self) -> bool {
        true
    }

    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        let name = match (parser.peek_nth_token(0).token, parser.peek_nth_token(1).token) {
            (Token::Word(word), Token::LBracket) if is_keyword(&word, "MAP") => "map",
            (Token::Word(word), Token::LParen) if is_keyword(&word, "ROW") => "row",
            _ => return None,
        };
        Some(if name == "map" { parse_map(parser) } else { parse_row(parser) })
    }
}

fn is_keyword(word: &Word, keyword: &str) -> bool {
    word.quote_style.is_none() && word.value.eq_ignore_ascii_case(keyword)
}

/// `MAP['k', 1, …]` is the function `map('k', 1, …)`.
fn parse_map(parser: &mut Parser<'_>) -> Result<Expr, ParserError> {
    parser.next_token();
    parser.expect_token(&Token::LBracket)?;
    let arguments = if parser.consume_token(&Token::RBracket) {
        Vec::new()
    } else {
        let arguments = parser.parse_comma_separated(Parser::parse_expr)?;
        parser.expect_token(&Token::RBracket)?;
        arguments
    };
    Ok(call("map", arguments))
}

/// `ROW(1, 'z')` is the function `row(1, 'z')`.
fn parse_row(parser: &mut Parser<'_>) -> Result<Expr, ParserError> {
    parser.next_token();
    parser.expect_token(&Token::LParen)?;
    let arguments = parser.parse_comma_separated(Parser::parse_expr)?;
    parser.expect_token(&Token::RParen)?;
    Ok(call("row", arguments))
}

fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let args = arguments
        .into_iter()
        .map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)))
        .collect();
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

/// A token and its place in bytes.
#[derive(Clone, Debug)]
pub(crate) struct Lexeme {
    pub(crate) token: TokenWithSpan,
    pub(crate) span: Span,
}

impl Lexeme {
    /// The text of a hint, `OPTIONS(…)`, if this is a comment of the form `/*+ … */`.
    pub(crate) fn hint(&self) -> Option<&str> {
        match &self.token.token {
            Token::Whitespace(Whitespace::MultiLineComment(text)) => text.strip_prefix('+'),
            _ => None,
        }
    }

    /// Whether it is a word without quotes that reads as `keyword`.
    pub(crate) fn is_keyword(&self, keyword: &str) -> bool {
        matches!(&self.token.token, Token::Word(word) if is_keyword(word, keyword))
    }
}

/// Where lines begin, for places in bytes.
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    /// The lines of a text.
    pub(crate) fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(index, _)| index + 1))
            .collect();
        Self { text, starts }
    }

    /// The byte at which a place begins.
    pub(crate) fn offset(&self, line: u64, column: u64) -> usize {
        let line = usize::try_from(line).unwrap_or(1).saturating_sub(1);
        let column = usize::try_from(column).unwrap_or(1).saturating_sub(1);
        let start = self.starts.get(line).copied().unwrap_or(self.text.len());
        let rest = self.text.get(start..).unwrap_or_default();
        start + rest.char_indices().nth(column).map_or(rest.len(), |(index, _)| index)
    }
}

/// Finds the bytes of places that only go forward, in one pass over the text.
struct Cursor<'a> {
    rest: std::str::Chars<'a>,
    len: usize,
    line: u64,
    column: u64,
}

impl<'a> Cursor<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text.chars(), len: text.len(), line: 1, column: 1 }
    }

    fn advance_to(&mut self, place: Location) -> usize {
        while (self.line, self.column) < (place.line, place.column) {
            match self.rest.next() {
                Some('\n') => {
                    self.line += 1;
                    self.column = 1;
                }
                Some(_) => self.column += 1,
                None => break,
            }
        }
        self.len - self.rest.as_str().len()
    }
}

/// The tokens of a statement, without white space and comments, but with hints.
pub(crate) fn tokenize(text: &str) -> Result<Vec<Lexeme>, Diagnostic> {
    let tokens = Tokenizer::new(&FlinkDialect, text).tokenize_with_location().map_err(|error| {
        let start = Lines::new(text).offset(error.location.line, error.location.column);
        let len = text.get(start..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
        Diagnostic::syntax(&error.message).at(Span { start, end: start + len })
    })?;
    let mut cursor = Cursor::new(text);
    let mut lexemes = Vec::with_capacity(tokens.len());
    for token in tokens {
        let start = cursor.advance_to(token.span.start);
        let span = Span { start, end: cursor.advance_to(token.span.end) };
        let lexeme = Lexeme { token, span };
        match &lexeme.token.token {
            Token::Whitespace(_) if lexeme.hint().is_none() => {}
            Token::DoubleQuotedString(_) => {
                return Err(Diagnostic::syntax("Double quotes are not possible here.")
                    .with_hint("Write strings in single quotes and names in back-ticks.")
                    .at(span));
            }
            _ => lexemes.push(lexeme),
        }
    }
    Ok(lexemes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bytes() {
        let text = "SELECT 'ü'\n -- c;\n  `a``b.c-d`, ä$x /*+ OPTIONS('k'='v') */";
        let found: Vec<&str> =
            tokenize(text).unwrap().iter().map(|lexeme| lexeme.span.slice(text)).collect();
        assert_eq!(found, ["SELECT", "'ü'", "`a``b.c-d`", ",", "ä$x", "/*+ OPTIONS('k'='v') */"]);
    }

    #[test]
    fn mistakes_have_a_place() {
        let error = tokenize("SELECT 'abc").unwrap_err();
        assert_eq!(error.message, "SQL parse failed. Unterminated string literal");
        assert_eq!(error.span.map(|span| span.start), Some(7));
        assert!(tokenize("SELECT \"a\"").is_err());
    }
}
