//! Queries, and what stands around them.
//!
//! `sqlparser` knows no hints behind table names and no `FOR SYSTEM_TIME AS OF`. Both are taken out of
//! the tokens: the name and what is attached to it become one generated name, which stands in
//! [`Query::scans`] and gets the written name as its alias.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Query as QueryBody, TableAlias, TableFactor, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use shardlake_connector::Options;

use super::StatementParser;
use crate::diagnostic::{Diagnostic, Span};
use crate::dialect::{FlinkDialect, Lexeme, Lines};
use crate::statement::{ExplainDetail, Insert, Name, Query, TableReference, TimeTravel};

/// What begins a hint; the text of a hint begins behind it.
const HINT_START: &str = "/*+";

impl StatementParser<'_> {
    /// A query up to the next semicolon or the end of the text.
    pub(super) fn query(&mut self) -> Result<Query, Diagnostic> {
        if self.peek().is_none_or(|lexeme| lexeme.token.token == Token::SemiColon) {
            return Err(self.unexpected("a query"));
        }
        let start = self.span().start;
        let (tokens, scans) = self.without_attachments()?;
        let end = self.end_of_last();
        let mut parser = Parser::new(&FlinkDialect).with_tokens_with_locations(tokens);
        let mut body = parser.parse_query().map_err(|error| self.parse_error(&error))?;
        let rest = parser.peek_token();
        if rest.token != Token::EOF {
            let at = Lines::new(self.text).offset(rest.span.start.line, rest.span.start.column);
            let message =
                format!("Encountered \"{}\". Was expecting: the end of the query.", rest.token);
            return Err(Diagnostic::syntax(message).at(self.token_at(at)));
        }
        add_aliases(&mut body, &scans)?;
        let text = self.text.get(start..end).unwrap_or_default().to_owned();
        Ok(Query { text, offset: start, body, scans })
    }

    /// The tokens of a query for `sqlparser`, and what was taken out of them.
    fn without_attachments(
        &mut self,
    ) -> Result<(Vec<TokenWithSpan>, BTreeMap<String, TableReference>), Diagnostic> {
        let mut tokens: Vec<Lexeme> = Vec::new();
        let mut scans = BTreeMap::new();
        while let Some(lexeme) = self.peek().cloned() {
            if lexeme.token.token == Token::SemiColon {
                break;
            }
            if lexeme.hint().is_none() && !self.at_time_travel() {
                self.next += 1;
                tokens.push(lexeme);
                continue;
            }
            let Some(name) = pop_name(&mut tokens) else {
                return Err(Diagnostic::unsupported("A hint that does not follow a table name")
                    .at(lexeme.span));
            };
            let reference = self.attachments(name)?;
            let written = reference.name.parts.last().cloned().unwrap_or_default();
            let generated = format!("{written}#{}", self.generated);
            self.generated += 1;
            let mut token = lexeme;
            token.token.token = Token::make_word(&generated, Some('`'));
            tokens.push(token);
            scans.insert(generated, reference);
        }
        Ok((tokens.into_iter().map(|lexeme| lexeme.token).collect(), scans))
    }

    fn at_time_travel(&self) -> bool {
        self.looking_at(&["FOR", "SYSTEM_TIME"]) || self.looking_at(&["FOR", "SYSTEM_VERSION"])
    }

    /// The hints and the time travel behind a table's name, in any order.
    pub(super) fn attachments(&mut self, name: Name) -> Result<TableReference, Diagnostic> {
        let mut reference = TableReference { name, options: Options::default(), time_travel: None };
        loop {
            if self.at_time_travel() {
                reference.time_travel = Some(self.time_travel()?);
            } else if let Some(options) = self.hint()? {
                for (key, value) in options.iter() {
                    reference.options.set(key, value);
                }
            } else {
                return Ok(reference);
            }
        }
    }

    fn time_travel(&mut self) -> Result<TimeTravel, Diagnostic> {
        let start = self.next;
        self.expect("FOR")?;
        let by_time = self.accept(&["SYSTEM_TIME"]);
        if !by_time {
            self.expect("SYSTEM_VERSION")?;
        }
        self.expect("AS OF")?;
        if by_time {
            self.accept(&["TIMESTAMP"]);
        }
        if !by_time && self.accept(&["GTID"]) {
            return self.string().map(TimeTravel::Gtid);
        }
        let time_travel = match self.peek().map(|lexeme| &lexeme.token.token) {
            Some(Token::SingleQuotedString(text)) if by_time => {
                Some(TimeTravel::Timestamp(text.clone()))
            }
            Some(Token::Number(digits, _)) if !by_time => {
                digits.parse().ok().map(TimeTravel::Snapshot)
            }
            Some(Token::SingleQuotedString(name)) => Some(TimeTravel::Reference(name.clone())),
            _ => None,
        };
        self.next += 1;
        match time_travel {
            Some(time_travel) => Ok(time_travel),
            None if by_time => Err(self
                .unsupported("FOR SYSTEM_TIME AS OF with an expression (temporal join)", start)
                .with_hint("Time travel takes a literal: TIMESTAMP 'yyyy-MM-dd HH:mm:ss'.")),
            None => {
                Err(self.unexpected("a snapshot id, GTID 'set', or the name of a tag or branch"))
            }
        }
    }

    /// The options of a hint, if a hint is next.
    fn hint(&mut self) -> Result<Option<Options>, Diagnostic> {
        let Some(lexeme) = self.peek().cloned() else {
            return Ok(None);
        };
        let Some(text) = lexeme.hint() else {
            return Ok(None);
        };
        self.next += 1;
        let shift = |mut diagnostic: Diagnostic| {
            if let Some(span) = &mut diagnostic.span {
                span.start += lexeme.span.start + HINT_START.len();
                span.end += lexeme.span.start + HINT_START.len();
            }
            diagnostic
        };
        parse_hint(text).map(Some).map_err(shift)
    }

    /// `INSERT INTO table [hints] [(columns)] query`.
    pub(super) fn insert(&mut self) -> Result<Insert, Diagnostic> {
        let start = self.next;
        self.expect("INSERT")?;
        if self.accept(&["OVERWRITE"]) {
            return Err(self.unsupported("INSERT OVERWRITE", start).with_hint(
                "INSERT INTO adds to the table or, with a primary key, replaces rows.",
            ));
        }
        self.expect("INTO")?;
        let name = self.name()?;
        let target = self.attachments(name)?;
        if target.time_travel.is_some() {
            return Err(Diagnostic::syntax("Time travel is not possible on the target of INSERT.")
                .at(target.name.span));
        }
        if self.looking_at(&["PARTITION"]) {
            self.next += 1;
            return Err(self
                .unsupported("INSERT INTO … PARTITION", self.next - 1)
                .with_hint("Select the partition's values as columns."));
        }
        let columns = if self.at_column_list() { self.list(Self::identifier)? } else { Vec::new() };
        let query = self.query()?;
        Ok(Insert { target, columns, query })
    }

    /// Whether `(` begins a list of columns and not a query.
    fn at_column_list(&self) -> bool {
        let Some(Token::LParen) = self.peek().map(|lexeme| &lexeme.token.token) else {
            return false;
        };
        let begins_query =
            ["SELECT", "WITH", "VALUES"].iter().any(|keyword| self.is_keyword(1, keyword));
        !begins_query && self.peek_nth(1).is_some_and(super::is_word)
    }

    /// Inserts, each with its semicolon, up to `END`.
    pub(super) fn statement_set(&mut self) -> Result<Vec<Insert>, Diagnostic> {
        let mut inserts = Vec::new();
        while !self.accept(&["END"]) {
            inserts.push(self.insert()?);
            self.expect_token(&Token::SemiColon)?;
        }
        if inserts.is_empty() {
            return Err(
                Diagnostic::syntax("A statement set needs at least one INSERT.").at(self.span())
            );
        }
        Ok(inserts)
    }

    pub(super) fn explain_details(&mut self) -> Result<Vec<ExplainDetail>, Diagnostic> {
        let mut details = Vec::new();
        loop {
            let found = [
                ("CHANGELOG_MODE", ExplainDetail::ChangelogMode),
                ("ESTIMATED_COST", ExplainDetail::EstimatedCost),
                ("JSON_EXECUTION_PLAN", ExplainDetail::JsonExecutionPlan),
                ("PLAN_ADVICE", ExplainDetail::PlanAdvice),
            ]
            .into_iter()
            .find(|(keyword, _)| self.is_keyword(0, keyword));
            match found {
                Some((_, detail)) => {
                    self.next += 1;
                    details.push(detail);
                }
                None if details.is_empty() => return Ok(details),
                None => return Err(self.unexpected("a detail of EXPLAIN")),
            }
            if !self.accept_token(&Token::Comma) {
                return Ok(details);
            }
        }
    }

    /// An expression, up to a comma, a parenthesis or `COMMENT`: its text and its parsed form.
    pub(super) fn expression(&mut self) -> Result<(String, Expr), Diagnostic> {
        let start = self.span().start;
        let mut depth = 0_usize;
        let mut tokens = Vec::new();
        while let Some(lexeme) = self.peek() {
            match &lexeme.token.token {
                Token::LParen | Token::LBracket => depth += 1,
                Token::Comma if depth == 0 => break,
                Token::RParen if depth == 0 => break,
                Token::RParen | Token::RBracket => depth = depth.saturating_sub(1),
                Token::SemiColon => break,
                _ if depth == 0 && lexeme.is_keyword("COMMENT") => break,
                _ if depth == 0 && self.at_column_place(&tokens) => break,
                _ => {}
            }
            tokens.push(lexeme.token.clone());
            self.next += 1;
        }
        let mut parser = Parser::new(&FlinkDialect).with_tokens_with_locations(tokens);
        let expression = parser.parse_expr().map_err(|error| self.parse_error(&error))?;
        let rest = parser.peek_token();
        if rest.token != Token::EOF {
            let at = Lines::new(self.text).offset(rest.span.start.line, rest.span.start.column);
            let message = format!("Encountered \"{}\" in an expression.", rest.token);
            return Err(Diagnostic::syntax(message).at(self.token_at(at)));
        }
        let text = self.text.get(start..self.end_of_last()).unwrap_or_default();
        Ok((text.to_owned(), expression))
    }

    /// Whether `FIRST` or `AFTER column` is next, behind a whole expression: as in `ALTER TABLE … ADD`.
    fn at_column_place(&self, before: &[TokenWithSpan]) -> bool {
        let is_whole = before.last().is_some_and(|last| {
            matches!(last.token, Token::Word(_) | Token::Number(..) | Token::RParen)
                || matches!(last.token, Token::SingleQuotedString(_) | Token::RBracket)
        });
        let ends = |ahead: usize| {
            self.peek_nth(ahead).is_none_or(|lexeme| {
                matches!(lexeme.token.token, Token::Comma | Token::RParen | Token::SemiColon)
            })
        };
        is_whole
            && ((self.is_keyword(0, "FIRST") && ends(1))
                || (self.is_keyword(0, "AFTER") && ends(2)))
    }

    /// An error of `sqlparser`, whose place is written into its message.
    fn parse_error(&self, error: &ParserError) -> Diagnostic {
        let message = match error {
            ParserError::RecursionLimitExceeded => {
                return Diagnostic::syntax("The statement is nested too deeply.");
            }
            ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
        };
        let place = message.rsplit_once(" at Line: ").and_then(|(text, place)| {
            let (line, column) = place.split_once(", Column: ")?;
            Some((text, line.trim().parse::<u64>().ok()?, column.trim().parse::<u64>().ok()?))
        });
        match place {
            Some((text, line, column)) => {
                let at = Lines::new(self.text).offset(line, column);
                Diagnostic::syntax(format!("{text}.")).at(self.token_at(at))
            }
            None => {
                let end = self.end_of_last();
                Diagnostic::syntax(format!("{message}.")).at(Span { start: end, end })
            }
        }
    }

    /// The place of the token at a byte.
    fn token_at(&self, offset: usize) -> Span {
        self.tokens
            .iter()
            .find(|lexeme| lexeme.span.start == offset)
            .map_or(Span { start: offset, end: offset }, |lexeme| lexeme.span)
    }
}

fn parse_hint(text: &str) -> Result<Options, Diagnostic> {
    let mut parser = StatementParser::new(text)?;
    let mut options = Options::default();
    while parser.peek().is_some() {
        let start = parser.next;
        let name = parser.identifier()?;
        if !name.eq_ignore_ascii_case("OPTIONS") {
            return Err(parser.unsupported(&format!("Hint {}", name.to_uppercase()), start));
        }
        for (key, value) in parser.options()?.iter() {
            options.set(key, value);
        }
        parser.accept_token(&Token::Comma);
    }
    Ok(options)
}

/// Takes the name at the end of the tokens: `a`, `a.b` or `a.b.c`.
fn pop_name(tokens: &mut Vec<Lexeme>) -> Option<Name> {
    let mut parts = Vec::new();
    let end = tokens.last()?.span.end;
    let mut start = end;
    loop {
        let Token::Word(word) = &tokens.last()?.token.token else {
            return None;
        };
        if word.quote_style.is_none()
            && ["SELECT", "FROM", "JOIN", "BY"]
                .iter()
                .any(|keyword| word.value.eq_ignore_ascii_case(keyword))
        {
            return None;
        }
        parts.push(word.value.clone());
        start = tokens.pop().map_or(start, |lexeme| lexeme.span.start);
        let has_qualifier = tokens.last().is_some_and(|l| l.token.token == Token::Period);
        if !has_qualifier {
            break;
        }
        tokens.pop();
    }
    parts.reverse();
    Some(Name { parts, span: Span { start, end } })
}

/// Gives each generated table the name that the user wrote, unless it has an alias.
fn add_aliases(
    body: &mut QueryBody,
    scans: &BTreeMap<String, TableReference>,
) -> Result<(), Diagnostic> {
    if scans.is_empty() {
        return Ok(());
    }
    let mut visitor = Aliases { scans, seen: BTreeSet::new() };
    let _ = VisitMut::visit(body, &mut visitor);
    match scans.iter().find(|(generated, _)| !visitor.seen.contains(*generated)) {
        Some((_, reference)) => Err(Diagnostic::syntax(
            "A hint or FOR SYSTEM_TIME can only follow the name of a table.",
        )
        .at(reference.name.span)),
        None => Ok(()),
    }
}

struct Aliases<'a> {
    scans: &'a BTreeMap<String, TableReference>,
    seen: BTreeSet<String>,
}

impl VisitorMut for Aliases<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, alias, .. } = factor
            && let [part] = name.0.as_slice()
            && let Some(ident) = part.as_ident()
            && let Some(reference) = self.scans.get(&ident.value)
        {
            self.seen.insert(ident.value.clone());
            let written = reference.name.parts.last().cloned().unwrap_or_default();
            alias.get_or_insert_with(|| TableAlias {
                explicit: true,
                name: Ident::with_quote('`', written),
                columns: vec![],
                at: None,
            });
        }
        ControlFlow::Continue(())
    }
}
