//! `ALTER …`.

use datafusion::sql::sqlparser::tokenizer::Token;
use shardlake_iceberg_table::{ColumnPlace, Existing, ReferenceChange, ReferenceKind, Retention};

use super::create::Elements;
use super::{StatementParser, is_word};
use crate::diagnostic::Diagnostic;
use crate::statement::{AlterAction, AlterTable, SchemaChange, Statement};

/// What `ADD` and `MODIFY` do.
#[derive(Clone, Copy)]
enum Change {
    Add,
    Modify,
}

impl StatementParser<'_> {
    pub(super) fn alter(&mut self) -> Result<Statement, Diagnostic> {
        let start = self.next;
        self.expect("ALTER")?;
        if self.accept(&["VIEW"]) {
            let name = self.name()?;
            if self.accept(&["RENAME", "TO"]) {
                return Ok(Statement::RenameView { name, to: self.name()? });
            }
            self.expect("AS")?;
            return Err(self.unsupported("ALTER VIEW … AS", start));
        }
        if !self.accept(&["TABLE"]) {
            for what in ["DATABASE", "CATALOG", "FUNCTION", "MODEL", "MATERIALIZED"] {
                if self.accept(&[what]) {
                    return Err(self.unsupported(&format!("ALTER {what}"), start));
                }
            }
            return Err(self.unexpected("TABLE or VIEW"));
        }
        let if_exists = self.accept(&["IF", "EXISTS"]);
        let name = self.name()?;
        let action = self.alter_action()?;
        Ok(Statement::AlterTable(AlterTable { name, if_exists, action }))
    }

    fn alter_action(&mut self) -> Result<AlterAction, Diagnostic> {
        let start = self.next;
        if self.accept(&["SET"]) {
            return Ok(AlterAction::Set(self.options()?));
        }
        if self.accept(&["RESET"]) {
            return Ok(AlterAction::Reset(self.list(Self::string)?));
        }
        if self.accept(&["RENAME", "TO"]) {
            return Ok(AlterAction::Rename(self.name()?));
        }
        if self.accept(&["RENAME"]) {
            let from = self.identifier()?;
            self.expect("TO")?;
            let to = self.identifier()?;
            return Ok(AlterAction::Schema(vec![SchemaChange::RenameColumn { from, to }]));
        }
        if let Some(reference) = self.alter_reference()? {
            return Ok(AlterAction::Reference(reference));
        }
        for what in [&["ADD", "PARTITION"][..], &["DROP", "PARTITION"], &["COMPACT"]] {
            if self.accept(what) {
                let what = format!("ALTER TABLE … {}", what.join(" "));
                return Err(self.unsupported(&what, start));
            }
        }
        if self.accept(&["ADD"]) {
            return self.schema_changes(Change::Add).map(AlterAction::Schema);
        }
        if self.accept(&["MODIFY"]) {
            return self.schema_changes(Change::Modify).map(AlterAction::Schema);
        }
        if self.accept(&["DROP"]) {
            return self.drop_from_table().map(AlterAction::Schema);
        }
        Err(self.unexpected(
            "ADD, MODIFY, DROP, RENAME, SET, RESET, RENAME TO, or CREATE, REPLACE or DROP of a \
             BRANCH or TAG",
        ))
    }

    /// `element` or `(element, …)`.
    fn schema_changes(&mut self, change: Change) -> Result<Vec<SchemaChange>, Diagnostic> {
        if self.peek().is_some_and(|lexeme| lexeme.token.token == Token::LParen) {
            let changes = self.list(|parser| parser.schema_change(change))?;
            return Ok(changes.into_iter().flatten().collect());
        }
        self.schema_change(change)
    }

    fn schema_change(&mut self, change: Change) -> Result<Vec<SchemaChange>, Diagnostic> {
        let mut elements = Elements::default();
        self.table_element(&mut elements)?;
        let mut changes = Vec::new();
        for column in elements.columns {
            let place = self.column_place()?;
            changes.push(match change {
                Change::Add => SchemaChange::AddColumn(column, place),
                Change::Modify => SchemaChange::ModifyColumn(column, place),
            });
        }
        if let Some(key) = elements.primary_key {
            changes.push(match change {
                Change::Add => SchemaChange::AddPrimaryKey(key),
                Change::Modify => SchemaChange::ModifyPrimaryKey(key),
            });
        }
        if let Some(watermark) = elements.watermark {
            changes.push(match change {
                Change::Add => SchemaChange::AddWatermark(watermark),
                Change::Modify => SchemaChange::ModifyWatermark(watermark),
            });
        }
        Ok(changes)
    }

    fn column_place(&mut self) -> Result<Option<ColumnPlace>, Diagnostic> {
        if self.accept(&["FIRST"]) {
            return Ok(Some(ColumnPlace::First));
        }
        if self.accept(&["AFTER"]) {
            return Ok(Some(ColumnPlace::After(self.identifier()?)));
        }
        Ok(None)
    }

    fn drop_from_table(&mut self) -> Result<Vec<SchemaChange>, Diagnostic> {
        if self.accept(&["PRIMARY", "KEY"]) {
            return Ok(vec![SchemaChange::DropPrimaryKey(None)]);
        }
        if self.is_keyword(0, "CONSTRAINT") && self.peek_nth(1).is_some_and(is_word) {
            self.next += 1;
            return Ok(vec![SchemaChange::DropPrimaryKey(Some(self.identifier()?))]);
        }
        if self.accept(&["WATERMARK"]) {
            return Ok(vec![SchemaChange::DropWatermark]);
        }
        let columns = if self.peek().is_some_and(|lexeme| lexeme.token.token == Token::LParen) {
            self.list(Self::identifier)?
        } else {
            vec![self.identifier()?]
        };
        Ok(columns.into_iter().map(SchemaChange::DropColumn).collect())
    }

    /// `CREATE [OR REPLACE] BRANCH …` and its like; none if it is something else.
    fn alter_reference(&mut self) -> Result<Option<ReferenceChange>, Diagnostic> {
        let (existing, kind) = if self.accept(&["CREATE", "OR", "REPLACE"]) {
            (Existing::Replace, self.reference_kind()?)
        } else if self.accept(&["CREATE"]) {
            let kind = self.reference_kind()?;
            let is_optional = self.accept(&["IF", "NOT", "EXISTS"]);
            (if is_optional { Existing::Keep } else { Existing::Refuse }, kind)
        } else if self.accept(&["REPLACE"]) {
            (Existing::Require, self.reference_kind()?)
        } else if self.looking_at(&["DROP", "BRANCH"]) || self.looking_at(&["DROP", "TAG"]) {
            // A column may be called so.
            if !self.peek_nth(2).is_some_and(is_word) {
                return Ok(None);
            }
            self.next += 1;
            let kind = self.reference_kind()?;
            let if_exists = self.accept(&["IF", "EXISTS"]);
            return Ok(Some(ReferenceChange::Drop { kind, name: self.identifier()?, if_exists }));
        } else {
            return Ok(None);
        };
        let name = self.identifier()?;
        let snapshot_id =
            if self.accept(&["AS", "OF", "VERSION"]) { Some(self.integer()?) } else { None };
        let retention = self.retention(kind)?;
        Ok(Some(ReferenceChange::Set { kind, name, snapshot_id, retention, existing }))
    }

    fn reference_kind(&mut self) -> Result<ReferenceKind, Diagnostic> {
        if self.accept(&["BRANCH"]) {
            Ok(ReferenceKind::Branch)
        } else if self.accept(&["TAG"]) {
            Ok(ReferenceKind::Tag)
        } else {
            Err(self.unexpected("BRANCH or TAG"))
        }
    }

    fn retention(&mut self, kind: ReferenceKind) -> Result<Retention, Diagnostic> {
        let mut retention = Retention::default();
        if self.accept(&["RETAIN"]) {
            retention.max_reference_age_ms = Some(self.age_ms()?);
        }
        if kind == ReferenceKind::Tag || !self.accept(&["WITH", "SNAPSHOT", "RETENTION"]) {
            return Ok(retention);
        }
        if self.is_keyword(1, "SNAPSHOTS") {
            let span = self.span();
            let count = self.integer()?;
            let count = i32::try_from(count).ok().filter(|count| *count > 0);
            let invalid = || Diagnostic::syntax("At least one snapshot must be kept.").at(span);
            retention.min_snapshots_to_keep = Some(count.ok_or_else(invalid)?);
            self.expect("SNAPSHOTS")?;
        }
        if matches!(self.peek().map(|lexeme| &lexeme.token.token), Some(Token::Number(..))) {
            retention.max_snapshot_age_ms = Some(self.age_ms()?);
        }
        Ok(retention)
    }

    /// `5 DAYS`, `12 HOURS` or `30 MINUTES`.
    fn age_ms(&mut self) -> Result<i64, Diagnostic> {
        let count = self.integer()?;
        for (unit, millis) in [("DAYS", 86_400_000), ("HOURS", 3_600_000), ("MINUTES", 60_000_i64)]
        {
            if self.accept(&[unit]) {
                return Ok(count.saturating_mul(millis));
            }
        }
        Err(self.unexpected("DAYS, HOURS or MINUTES"))
    }

    fn integer(&mut self) -> Result<i64, Diagnostic> {
        match self.peek().map(|lexeme| lexeme.token.token.clone()) {
            Some(Token::Number(digits, _)) => match digits.parse() {
                Ok(number) => {
                    self.next += 1;
                    Ok(number)
                }
                Err(_) => Err(self.unexpected("a whole number")),
            },
            _ => Err(self.unexpected("a whole number")),
        }
    }
}
