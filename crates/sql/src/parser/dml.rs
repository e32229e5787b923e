//! `DELETE FROM`, `UPDATE` and `VERIFY TABLE`.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::StatementParser;
use crate::diagnostic::Diagnostic;
use crate::statement::{RowChange, RowChangeKind, Statement, Verify};

impl StatementParser<'_> {
    /// `DELETE FROM table [hints] [WHERE condition]`.
    pub(super) fn delete(&mut self) -> Result<Statement, Diagnostic> {
        self.expect("DELETE FROM")?;
        let name = self.name()?;
        let target = self.attachments(name)?;
        let condition = self.condition()?;
        let change = RowChange { target, kind: RowChangeKind::Delete, condition };
        Ok(Statement::ChangeRows(change))
    }

    /// `UPDATE table [hints] SET column = expression, … [WHERE condition]`.
    pub(super) fn update(&mut self) -> Result<Statement, Diagnostic> {
        self.expect("UPDATE")?;
        let name = self.name()?;
        let target = self.attachments(name)?;
        self.expect("SET")?;
        let mut assignments: Vec<(String, String)> = Vec::new();
        loop {
            let span = self.span();
            let column = self.identifier()?;
            if assignments.iter().any(|(other, _)| *other == column) {
                let message = format!("Target column '{column}' is assigned more than once");
                return Err(Diagnostic::syntax(message).at(span));
            }
            self.expect_token(&Token::Eq)?;
            let expression = self.text_until(&["WHERE"], true)?;
            assignments.push((column, expression));
            if !self.accept_token(&Token::Comma) {
                break;
            }
        }
        let condition = self.condition()?;
        let change = RowChange { target, kind: RowChangeKind::Update(assignments), condition };
        Ok(Statement::ChangeRows(change))
    }

    /// `VERIFY TABLE table [hints] AGAINST source [hints] [REPAIR]`.
    pub(super) fn verify(&mut self) -> Result<Statement, Diagnostic> {
        self.expect("VERIFY TABLE")?;
        let name = self.name()?;
        let lake = self.attachments(name)?;
        self.expect("AGAINST")?;
        let name = self.name()?;
        let source = self.attachments(name)?;
        let repair = self.accept(&["REPAIR"]);
        Ok(Statement::Verify(Verify { lake, source, repair }))
    }

    fn condition(&mut self) -> Result<Option<String>, Diagnostic> {
        if self.accept(&["WHERE"]) { self.text_until(&[], false).map(Some) } else { Ok(None) }
    }

    /// The text up to one of the keywords, a comma if asked for, or the end of the statement; none of
    /// them inside parentheses. It is parsed as a part of a query later.
    fn text_until(&mut self, keywords: &[&str], comma: bool) -> Result<String, Diagnostic> {
        let start = self.span().start;
        let first = self.next;
        let mut depth = 0_usize;
        while let Some(lexeme) = self.peek() {
            match &lexeme.token.token {
                Token::LParen | Token::LBracket => depth += 1,
                Token::RParen | Token::RBracket => depth = depth.saturating_sub(1),
                Token::SemiColon => break,
                Token::Comma if comma && depth == 0 => break,
                _ if depth == 0 && keywords.iter().any(|word| lexeme.is_keyword(word)) => break,
                _ => {}
            }
            self.next += 1;
        }
        if self.next == first {
            return Err(self.unexpected("an expression"));
        }
        Ok(self.text.get(start..self.end_of_last()).unwrap_or_default().to_owned())
    }
}
