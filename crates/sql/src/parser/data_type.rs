//! Types as Flink SQL writes them.

use datafusion::sql::sqlparser::tokenizer::Token;
use shardlake_change::LogicalType;

use super::StatementParser;
use crate::diagnostic::Diagnostic;

/// The greatest length; a text or bytes of this length are `STRING` and `BYTES`.
const MAX_LENGTH: u32 = 2_147_483_647;

/// How deep types may be nested.
const MAX_DEPTH: usize = 50;

impl StatementParser<'_> {
    /// A type, without `NOT NULL`.
    pub(super) fn data_type(&mut self) -> Result<LogicalType, Diagnostic> {
        if self.depth == MAX_DEPTH {
            let message = "The statement is nested too deeply.";
            return Err(Diagnostic::syntax(message).at(self.span()));
        }
        self.depth += 1;
        let simple = self.simple_type();
        self.depth -= 1;
        let mut data_type = simple?;
        // `INT ARRAY` is the standard's way to write `ARRAY<INT>`.
        while self.accept(&["ARRAY"]) {
            data_type = LogicalType::Array(Box::new(data_type));
        }
        Ok(data_type)
    }

    /// `NOT NULL`, `NULL` or nothing: whether a value may be NULL.
    pub(super) fn nullability(&mut self) -> bool {
        if self.accept(&["NOT", "NULL"]) {
            return false;
        }
        self.accept(&["NULL"]);
        true
    }

    fn simple_type(&mut self) -> Result<LogicalType, Diagnostic> {
        let start = self.next;
        let span = self.span();
        let word = match self.peek().map(|lexeme| &lexeme.token.token) {
            Some(Token::Word(word)) if word.quote_style.is_none() => {
                word.value.to_ascii_uppercase()
            }
            _ => return Err(self.unexpected("a data type")),
        };
        self.next += 1;
        Ok(match word.as_str() {
            "STRING" => LogicalType::String,
            "BYTES" => LogicalType::Bytes,
            "BOOLEAN" => LogicalType::Boolean,
            "TINYINT" => LogicalType::TinyInt,
            "SMALLINT" => LogicalType::SmallInt,
            "INT" | "INTEGER" => LogicalType::Int,
            "BIGINT" => LogicalType::BigInt,
            "FLOAT" => LogicalType::Float,
            "DATE" => LogicalType::Date,
            "DOUBLE" => {
                self.accept(&["PRECISION"]);
                LogicalType::Double
            }
            "CHAR" | "CHARACTER" if self.accept(&["VARYING"]) => self.varchar()?,
            "VARCHAR" => self.varchar()?,
            "CHAR" | "CHARACTER" => LogicalType::Char(self.length()?.unwrap_or(1)),
            "BINARY" if self.accept(&["VARYING"]) => self.varbinary()?,
            "VARBINARY" => self.varbinary()?,
            "BINARY" => LogicalType::Binary(self.length()?.unwrap_or(1)),
            "DECIMAL" | "DEC" | "NUMERIC" => self.decimal()?,
            "TIME" => {
                let precision = self.fraction_digits(0)?;
                self.accept(&["WITHOUT", "TIME", "ZONE"]);
                LogicalType::Time(precision)
            }
            "TIMESTAMP_LTZ" => LogicalType::TimestampLtz(self.fraction_digits(6)?),
            "TIMESTAMP" => self.timestamp(start)?,
            "ARRAY" => LogicalType::Array(Box::new(self.in_angles(Self::nested_type)?)),
            "MAP" => self.in_angles(|parser| {
                let key = parser.nested_type()?;
                parser.expect_token(&Token::Comma)?;
                Ok(LogicalType::Map(Box::new(key), Box::new(parser.nested_type()?)))
            })?,
            "ROW" => self.row()?,
            "MULTISET" | "INTERVAL" | "RAW" | "VARIANT" | "BITMAP" | "NULL" | "DESCRIPTOR" => {
                return Err(self.unsupported(&format!("Data type {word}"), start));
            }
            _ => {
                return Err(Diagnostic::syntax(format!("'{word}' is no data type.")).at(span));
            }
        })
    }

    fn varchar(&mut self) -> Result<LogicalType, Diagnostic> {
        Ok(match self.length()?.unwrap_or(1) {
            MAX_LENGTH => LogicalType::String,
            length => LogicalType::VarChar(length),
        })
    }

    fn varbinary(&mut self) -> Result<LogicalType, Diagnostic> {
        Ok(match self.length()?.unwrap_or(1) {
            MAX_LENGTH => LogicalType::Bytes,
            length => LogicalType::VarBinary(length),
        })
    }

    fn decimal(&mut self) -> Result<LogicalType, Diagnostic> {
        let span = self.span();
        if !self.accept_token(&Token::LParen) {
            return Ok(LogicalType::Decimal { precision: 10, scale: 0 });
        }
        let precision = self.number()?;
        let scale = if self.accept_token(&Token::Comma) { self.number()? } else { 0 };
        self.expect_token(&Token::RParen)?;
        match (u8::try_from(precision), u8::try_from(scale)) {
            (Ok(precision @ 1..=38), Ok(scale)) if scale <= precision => {
                Ok(LogicalType::Decimal { precision, scale })
            }
            _ => Err(Diagnostic::syntax(
                "Decimal precision must be between 1 and 38 (both inclusive), and its scale between 0 \
                 and the precision.",
            )
            .at(span)),
        }
    }

    fn timestamp(&mut self, start: usize) -> Result<LogicalType, Diagnostic> {
        let precision = self.fraction_digits(6)?;
        if self.accept(&["WITH", "LOCAL", "TIME", "ZONE"]) {
            return Ok(LogicalType::TimestampLtz(precision));
        }
        if self.accept(&["WITH", "TIME", "ZONE"]) {
            return Err(self.unsupported("Data type TIMESTAMP WITH TIME ZONE", start));
        }
        self.accept(&["WITHOUT", "TIME", "ZONE"]);
        Ok(LogicalType::Timestamp(precision))
    }

    fn row(&mut self) -> Result<LogicalType, Diagnostic> {
        let field = |parser: &mut Self| {
            let name = parser.identifier()?;
            let data_type = parser.nested_type()?;
            if matches!(parser.peek().map(|l| &l.token.token), Some(Token::SingleQuotedString(_))) {
                return Err(parser.unsupported("A comment on a field of ROW", parser.next));
            }
            Ok((name, data_type))
        };
        if self.peek().is_some_and(|lexeme| lexeme.token.token == Token::LParen) {
            return self.list(field).map(LogicalType::Row);
        }
        self.in_angles(|parser| {
            let mut fields = vec![field(parser)?];
            while parser.accept_token(&Token::Comma) {
                fields.push(field(parser)?);
            }
            Ok(LogicalType::Row(fields))
        })
    }

    /// A type inside another. All values there may be NULL, also where a user promises that none is.
    fn nested_type(&mut self) -> Result<LogicalType, Diagnostic> {
        let data_type = self.data_type()?;
        // `NOT NULL` promises something to the reader of the table, who does not need it.
        self.nullability();
        Ok(data_type)
    }

    fn in_angles<T>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<T, Diagnostic>,
    ) -> Result<T, Diagnostic> {
        self.expect_token(&Token::Lt)?;
        let inner = inner(self)?;
        // The tokenizer reads `>>` as one token: take one half of it.
        if let Some(lexeme) = self.tokens.get_mut(self.next)
            && lexeme.token.token == Token::ShiftRight
        {
            lexeme.token.token = Token::Gt;
            lexeme.span.start += 1;
            return Ok(inner);
        }
        self.expect_token(&Token::Gt)?;
        Ok(inner)
    }

    fn number(&mut self) -> Result<u32, Diagnostic> {
        let number = match self.peek().map(|lexeme| &lexeme.token.token) {
            Some(Token::Number(digits, _)) => digits.parse().ok(),
            _ => None,
        };
        match number {
            Some(number) => {
                self.next += 1;
                Ok(number)
            }
            None => Err(self.unexpected("a number")),
        }
    }

    fn length(&mut self) -> Result<Option<u32>, Diagnostic> {
        if !self.accept_token(&Token::LParen) {
            return Ok(None);
        }
        let span = self.span();
        let length = self.number()?;
        self.expect_token(&Token::RParen)?;
        if (1..=MAX_LENGTH).contains(&length) {
            return Ok(Some(length));
        }
        Err(Diagnostic::syntax(format!("A length must be between 1 and {MAX_LENGTH}.")).at(span))
    }

    fn fraction_digits(&mut self, default: u8) -> Result<u8, Diagnostic> {
        if !self.accept_token(&Token::LParen) {
            return Ok(default);
        }
        let span = self.span();
        let precision = self.number()?;
        self.expect_token(&Token::RParen)?;
        match u8::try_from(precision) {
            Ok(precision @ 0..=9) => Ok(precision),
            _ => Err(Diagnostic::syntax(
                "Timestamp precision must be between 0 and 9 (both inclusive).",
            )
            .at(span)),
        }
    }
}
