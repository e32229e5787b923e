//! `CREATE …`.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::StatementParser;
use crate::catalog::{ColumnDefinition, ColumnKind, PrimaryKey, Watermark};
use crate::diagnostic::Diagnostic;
use crate::statement::{
    CreateCatalog, CreateDatabase, CreateTable, CreateView, Like, LikeFeature, LikeRule, Statement,
};

/// What stands between the parentheses of `CREATE TABLE`.
#[derive(Default)]
pub(super) struct Elements {
    pub(super) columns: Vec<ColumnDefinition>,
    pub(super) primary_key: Option<PrimaryKey>,
    pub(super) watermark: Option<Watermark>,
}

impl StatementParser<'_> {
    pub(super) fn create(&mut self) -> Result<Statement, Diagnostic> {
        let start = self.next;
        self.expect("CREATE")?;
        if self.accept(&["OR"]) {
            return Err(self.unsupported("CREATE OR REPLACE / CREATE OR ALTER", start));
        }
        let temporary = self.accept(&["TEMPORARY"]);
        if self.accept(&["TABLE"]) {
            return self.create_table(temporary);
        }
        if self.accept(&["VIEW"]) {
            return self.create_view(temporary);
        }
        if !temporary && self.accept(&["CATALOG"]) {
            let if_not_exists = self.accept(&["IF", "NOT", "EXISTS"]);
            let name = self.name()?;
            let comment = self.optional_string("COMMENT")?;
            let options = self.with_options()?;
            let create = CreateCatalog { name, if_not_exists, comment, options };
            return Ok(Statement::CreateCatalog(create));
        }
        if !temporary && self.accept(&["DATABASE"]) {
            let if_not_exists = self.accept(&["IF", "NOT", "EXISTS"]);
            let name = self.name()?;
            let comment = self.optional_string("COMMENT")?;
            let options = self.with_options()?;
            let create = CreateDatabase { name, if_not_exists, comment, options };
            return Ok(Statement::CreateDatabase(create));
        }
        for what in ["FUNCTION", "SYSTEM", "MODEL", "MATERIALIZED", "CONNECTION"] {
            if self.accept(&[what]) {
                return Err(self.unsupported(&format!("CREATE {what}"), start));
            }
        }
        Err(self.unexpected("TABLE, VIEW, CATALOG or DATABASE"))
    }

    fn create_view(&mut self, temporary: bool) -> Result<Statement, Diagnostic> {
        let if_not_exists = self.accept(&["IF", "NOT", "EXISTS"]);
        let name = self.name()?;
        let columns = if self.peek().is_some_and(|lexeme| lexeme.token.token == Token::LParen) {
            self.list(|parser| {
                let column = parser.identifier()?;
                if parser.looking_at(&["COMMENT"]) {
                    return Err(parser.unsupported("COMMENT on a column of a view", parser.next));
                }
                Ok(column)
            })?
        } else {
            Vec::new()
        };
        let comment = self.optional_string("COMMENT")?;
        self.expect("AS")?;
        let query = self.query()?;
        let view = CreateView { name, temporary, if_not_exists, columns, comment, query };
        Ok(Statement::CreateView(view))
    }

    fn create_table(&mut self, temporary: bool) -> Result<Statement, Diagnostic> {
        let if_not_exists = self.accept(&["IF", "NOT", "EXISTS"]);
        let name = self.name()?;
        let has_elements = self.peek().is_some_and(|lexeme| lexeme.token.token == Token::LParen);
        let elements = if has_elements { self.table_elements()? } else { Elements::default() };
        let comment = self.optional_string("COMMENT")?;
        let clause = self.next;
        if self.accept(&["DISTRIBUTED"]) {
            return Err(self.unsupported("DISTRIBUTED", clause));
        }
        let partitioned_by = if self.accept(&["PARTITIONED", "BY"]) {
            self.list(Self::partition)?
        } else {
            Vec::new()
        };
        let options = self.with_options()?;
        let like = if self.accept(&["LIKE"]) { Some(self.like()?) } else { None };
        let query = if self.accept(&["AS"]) { Some(self.query()?) } else { None };
        if elements.columns.is_empty() && like.is_none() && query.is_none() {
            return Err(self.unexpected("at least one column"));
        }
        Ok(Statement::CreateTable(CreateTable {
            name,
            temporary,
            if_not_exists,
            columns: elements.columns,
            primary_key: elements.primary_key,
            partitioned_by,
            comment,
            options,
            watermark: elements.watermark,
            like,
            query,
        }))
    }

    /// A column, or a transform of one: `bucket(16, id)`, `truncate(4, name)`, `days(ts)`.
    fn partition(&mut self) -> Result<String, Diagnostic> {
        let name = self.identifier()?;
        if !self.accept_token(&Token::LParen) {
            return Ok(name);
        }
        let mut arguments = Vec::new();
        while !self.accept_token(&Token::RParen) {
            if !arguments.is_empty() {
                self.expect_token(&Token::Comma)?;
            }
            arguments.push(match self.peek().map(|lexeme| lexeme.token.token.clone()) {
                Some(Token::Number(digits, _)) => {
                    self.next += 1;
                    digits
                }
                _ => self.identifier()?,
            });
        }
        Ok(format!("{}({})", name.to_lowercase(), arguments.join(", ")))
    }

    fn table_elements(&mut self) -> Result<Elements, Diagnostic> {
        let mut elements = Elements::default();
        self.expect_token(&Token::LParen)?;
        if self.accept_token(&Token::RParen) {
            return Ok(elements);
        }
        loop {
            self.table_element(&mut elements)?;
            if !self.accept_token(&Token::Comma) {
                break;
            }
        }
        self.expect_token(&Token::RParen)?;
        Ok(elements)
    }

    pub(super) fn table_element(&mut self, elements: &mut Elements) -> Result<(), Diagnostic> {
        let start = self.next;
        if self.accept(&["WATERMARK", "FOR"]) {
            let column = self.identifier()?;
            if self.peek().is_some_and(|lexeme| lexeme.token.token == Token::Period) {
                return Err(self.unsupported("WATERMARK on a field inside a column", start));
            }
            self.expect("AS")?;
            let watermark = Watermark { column, expression: self.expression()?.0 };
            if elements.watermark.replace(watermark).is_some() {
                let span = self.tokens.get(start).map(|lexeme| lexeme.span);
                let message = "Multiple WATERMARK statements is not supported yet.";
                return Err(Diagnostic::syntax(message).at(span));
            }
            return Ok(());
        }
        let constraint = if self.accept(&["CONSTRAINT"]) { Some(self.identifier()?) } else { None };
        if self.looking_at(&["UNIQUE"]) {
            return Err(self.unsupported("UNIQUE", start));
        }
        if self.accept(&["PRIMARY", "KEY"]) {
            let columns = self.list(Self::identifier)?;
            self.not_enforced(start)?;
            return self.set_primary_key(elements, PrimaryKey { name: constraint, columns }, start);
        }
        if constraint.is_some() {
            return Err(self.unexpected("PRIMARY KEY"));
        }
        self.column(elements)
    }

    fn set_primary_key(
        &self,
        elements: &mut Elements,
        key: PrimaryKey,
        start: usize,
    ) -> Result<(), Diagnostic> {
        if elements.primary_key.replace(key).is_some() {
            let span = self.tokens.get(start).map(|lexeme| lexeme.span);
            return Err(Diagnostic::syntax("Duplicate primary key definition").at(span));
        }
        Ok(())
    }

    fn not_enforced(&mut self, start: usize) -> Result<(), Diagnostic> {
        if self.accept(&["NOT", "ENFORCED"]) {
            return Ok(());
        }
        self.accept(&["ENFORCED"]);
        let span = self.tokens.get(start).map(|lexeme| lexeme.span);
        Err(Diagnostic::table_definition(
            "Flink doesn't support ENFORCED mode for PRIMARY KEY constraint. ENFORCED/NOT ENFORCED \
             controls if the constraint checks are performed on the incoming/outgoing data. Flink does \
             not own the data therefore the only supported mode is the NOT ENFORCED mode",
        )
        .with_hint("Write PRIMARY KEY (…) NOT ENFORCED.")
        .at(span))
    }

    fn column(&mut self, elements: &mut Elements) -> Result<(), Diagnostic> {
        let start = self.next;
        let span = self.span();
        let name = self.identifier()?;
        if elements.columns.iter().any(|column| column.name == name) {
            let message = format!("A column named '{name}' already exists in the table.");
            return Err(Diagnostic::table_definition(message).at(span));
        }
        let kind = if self.accept(&["AS"]) {
            ColumnKind::Computed { expression: self.expression()?.0 }
        } else {
            let data_type = self.data_type()?;
            let nullable = self.nullability();
            if self.accept(&["METADATA"]) {
                let key = if self.accept(&["FROM"]) { Some(self.string()?) } else { None };
                let is_virtual = self.accept(&["VIRTUAL"]);
                ColumnKind::Metadata { data_type, nullable, key, is_virtual }
            } else {
                ColumnKind::Physical { data_type, nullable }
            }
        };
        let constraint = if self.accept(&["CONSTRAINT"]) { Some(self.identifier()?) } else { None };
        if self.accept(&["PRIMARY", "KEY"]) {
            self.not_enforced(start)?;
            let key = PrimaryKey { name: constraint, columns: vec![name.clone()] };
            self.set_primary_key(elements, key, start)?;
        } else if constraint.is_some() {
            return Err(self.unexpected("PRIMARY KEY"));
        }
        let clause = self.next;
        for what in ["UNIQUE", "DEFAULT", "CHECK", "REFERENCES"] {
            if self.accept(&[what]) {
                return Err(self.unsupported(&format!("{what} on a column"), clause));
            }
        }
        let comment = self.optional_string("COMMENT")?;
        elements.columns.push(ColumnDefinition { name, kind, comment });
        Ok(())
    }

    fn like(&mut self) -> Result<Like, Diagnostic> {
        let base = self.name()?;
        let mut rules = Vec::new();
        if !self.accept_token(&Token::LParen) {
            return Ok(Like { base, rules });
        }
        while !self.accept_token(&Token::RParen) {
            let rule = if self.accept(&["INCLUDING"]) {
                LikeRule::Including
            } else if self.accept(&["EXCLUDING"]) {
                LikeRule::Excluding
            } else if self.accept(&["OVERWRITING"]) {
                LikeRule::Overwriting
            } else {
                return Err(self.unexpected("INCLUDING, EXCLUDING, OVERWRITING or )"));
            };
            rules.push((self.like_feature()?, rule));
        }
        Ok(Like { base, rules })
    }

    fn like_feature(&mut self) -> Result<LikeFeature, Diagnostic> {
        for (keyword, feature) in [
            ("ALL", LikeFeature::All),
            ("CONSTRAINTS", LikeFeature::Constraints),
            ("GENERATED", LikeFeature::Generated),
            ("METADATA", LikeFeature::Metadata),
            ("OPTIONS", LikeFeature::Options),
            ("PARTITIONS", LikeFeature::Partitions),
            ("WATERMARKS", LikeFeature::Watermarks),
        ] {
            if self.accept(&[keyword]) {
                return Ok(feature);
            }
        }
        Err(self
            .unexpected("ALL, CONSTRAINTS, GENERATED, METADATA, OPTIONS, PARTITIONS or WATERMARKS"))
    }
}
