//! Care for a table of the lake: `ALTER TABLE t COMPACT` and the like, and the same as `CALL` of procedures that
//! other engines have.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::StatementParser;
use crate::diagnostic::{Code, Diagnostic};
use crate::statement::{Maintain, MaintainAction, Name, Statement};

/// The procedures that can be called.
const PROCEDURES: [&str; 5] = [
    "rewrite_data_files",
    "rewrite_position_delete_files",
    "rewrite_manifests",
    "expire_snapshots",
    "remove_orphan_files",
];

/// An argument of a call.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Text(String),
    Number(u64),
    Boolean(bool),
}

/// The arguments of a call, by name.
struct Arguments {
    procedure: String,
    given: Vec<(String, Value)>,
}

impl StatementParser<'_> {
    /// `ALTER TABLE t` with one of the actions; none, and nothing is read, if it is another statement.
    pub(super) fn maintenance(&mut self) -> Result<Option<Statement>, Diagnostic> {
        let start = self.next;
        if !self.accept(&["ALTER", "TABLE"]) {
            return Ok(None);
        }
        let Ok(name) = self.name() else {
            self.next = start;
            return Ok(None);
        };
        let action = if self.accept(&["COMPACT"]) {
            for what in ["WHERE", "ORDER", "PARTITION"] {
                if self.looking_at(&[what]) {
                    let what = format!("ALTER TABLE … COMPACT {what}");
                    return Err(self.unsupported(&what, start).with_hint(
                        "COMPACT takes all files that are small or have deleted rows, and sorts them \
                         by the table's own sort order; COMPACT ALL takes every file.",
                    ));
                }
            }
            MaintainAction::Compact { everything: self.accept(&["ALL"]) }
        } else if self.accept(&["EXPIRE", "SNAPSHOTS"]) {
            let older_than = self.older_than()?;
            let retain_last = match self.accept(&["RETAIN", "LAST"]) {
                true => Some(self.count()?),
                false => None,
            };
            MaintainAction::ExpireSnapshots { older_than, retain_last }
        } else if self.accept(&["REMOVE", "ORPHAN", "FILES"]) {
            let older_than = self.older_than()?;
            let dry_run = self.accept(&["DRY", "RUN"]);
            MaintainAction::RemoveOrphanFiles { older_than, dry_run }
        } else if self.accept(&["REWRITE", "MANIFESTS"]) {
            MaintainAction::RewriteManifests
        } else {
            self.next = start;
            return Ok(None);
        };
        Ok(Some(Statement::Maintain(Maintain { name, action })))
    }

    /// `OLDER THAN [TIMESTAMP] 'time'`.
    fn older_than(&mut self) -> Result<Option<String>, Diagnostic> {
        if !self.accept(&["OLDER", "THAN"]) {
            return Ok(None);
        }
        self.accept(&["TIMESTAMP"]);
        self.string().map(Some)
    }

    fn count(&mut self) -> Result<u64, Diagnostic> {
        let digits = match self.peek().map(|lexeme| &lexeme.token.token) {
            Some(Token::Number(digits, _)) => digits.parse().ok(),
            _ => None,
        };
        let count = digits.ok_or_else(|| self.unexpected("a whole number"))?;
        self.next += 1;
        Ok(count)
    }

    /// `CALL [catalog.]system.procedure(name => value, …)`.
    pub(super) fn call(&mut self) -> Result<Statement, Diagnostic> {
        self.expect("CALL")?;
        let procedure = self.name()?;
        let (schema, name) = match procedure.parts.as_slice() {
            [.., schema, name] => (schema.to_ascii_lowercase(), name.to_ascii_lowercase()),
            _ => return Err(unknown_procedure(&procedure)),
        };
        if schema != "system" || !PROCEDURES.contains(&name.as_str()) {
            return Err(unknown_procedure(&procedure));
        }
        let given = self.list(Self::argument)?;
        let mut arguments = Arguments { procedure: name, given: Vec::new() };
        for (place, (name, value)) in given.into_iter().enumerate() {
            // The table comes first in all of them.
            let name = name.or_else(|| (place == 0).then(|| "table".to_owned()));
            let name = name.ok_or_else(|| {
                let message = "Only the first argument can be given without its name.";
                Diagnostic::syntax(message).at(procedure.span)
            })?;
            arguments.given.push((name, value));
        }
        arguments.into_statement(&procedure).map_err(|error| error.at(procedure.span))
    }

    fn argument(&mut self) -> Result<(Option<String>, Value), Diagnostic> {
        let mut name = None;
        let is_named = self.peek_nth(1).is_some_and(|lexeme| lexeme.token.token == Token::RArrow);
        if is_named {
            name = Some(self.identifier()?.to_ascii_lowercase());
            self.next += 1;
        }
        let value = if self.accept(&["TRUE"]) {
            Value::Boolean(true)
        } else if self.accept(&["FALSE"]) {
            Value::Boolean(false)
        } else if matches!(self.peek().map(|lexeme| &lexeme.token.token), Some(Token::Number(..))) {
            Value::Number(self.count()?)
        } else {
            self.accept(&["TIMESTAMP"]);
            Value::Text(self.string()?)
        };
        Ok((name, value))
    }
}

impl Arguments {
    fn into_statement(mut self, procedure: &Name) -> Result<Statement, Diagnostic> {
        let table = self.text("table")?.ok_or_else(|| {
            let message = format!("Procedure {} needs the argument 'table'.", self.procedure);
            Diagnostic::new(Code::SessionState, message)
        })?;
        let mut parts: Vec<String> = table.split('.').map(str::to_owned).collect();
        // The catalog of the procedure is that of the table.
        if let ([catalog, _, _], 1..=2) = (procedure.parts.as_slice(), parts.len())
            && parts.len() == 2
        {
            parts.insert(0, catalog.clone());
        }
        let name = Name { parts, span: procedure.span };
        let action = match self.procedure.as_str() {
            "rewrite_data_files" => {
                match self.text("strategy")?.as_deref() {
                    None | Some("binpack" | "sort") => {}
                    Some(other) => {
                        let what = format!("Strategy '{other}' of rewrite_data_files");
                        return Err(Diagnostic::unsupported(&what));
                    }
                }
                MaintainAction::Compact { everything: self.boolean("rewrite_all")? }
            }
            "rewrite_position_delete_files" => MaintainAction::Compact { everything: false },
            "rewrite_manifests" => MaintainAction::RewriteManifests,
            "expire_snapshots" => MaintainAction::ExpireSnapshots {
                older_than: self.text("older_than")?,
                retain_last: self.number("retain_last")?,
            },
            _ => MaintainAction::RemoveOrphanFiles {
                older_than: self.text("older_than")?,
                dry_run: self.boolean("dry_run")?,
            },
        };
        match self.given.first() {
            None => Ok(Statement::Maintain(Maintain { name, action })),
            Some((name, _)) => {
                let what = format!("Argument '{name}' of procedure {}", self.procedure);
                Err(Diagnostic::unsupported(&what))
            }
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let place = self.given.iter().position(|(given, _)| given == name)?;
        Some(self.given.remove(place).1)
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, Diagnostic> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(name, "a string")),
        }
    }

    fn number(&mut self, name: &str) -> Result<Option<u64>, Diagnostic> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(Some(number)),
            Some(_) => Err(self.wrong(name, "a whole number")),
        }
    }

    fn boolean(&mut self, name: &str) -> Result<bool, Diagnostic> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Boolean(value)) => Ok(value),
            Some(_) => Err(self.wrong(name, "TRUE or FALSE")),
        }
    }

    fn wrong(&self, name: &str, expected: &str) -> Diagnostic {
        let message =
            format!("Argument '{name}' of procedure {} must be {expected}.", self.procedure);
        Diagnostic::new(Code::TypeMismatch, message)
    }
}

fn unknown_procedure(name: &Name) -> Diagnostic {
    let message = format!("Procedure '{}' is not known.", name.parts.join("."));
    Diagnostic::new(Code::ObjectNotFound, message)
        .with_hint(format!("Procedures: system.{}", PROCEDURES.join(", system.")))
        .at(name.span)
}
