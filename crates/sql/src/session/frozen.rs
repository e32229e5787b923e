//! What a statement saw of its session, so that it can be planned again in another process.
//!
//! A job outlives the session that submitted it, and must not change when somebody alters or drops a
//! table that it uses. So the definitions of its tables and views are kept with it. Tables of a
//! lake's catalog are the exception: the lake itself says what they are, and only the way to the lake is kept.

use serde::{Deserialize, Serialize};
use shardlake_connector::{ObjectName, Options};

use super::{Configuration, Session};
use crate::catalog::{CatalogObject, Connectors, PlannerContext, pairs};
use crate::diagnostic::Diagnostic;
use crate::statement::Insert;

/// The part of a session that a statement depends on. It may hold secrets, as the user wrote them.
#[derive(Clone, Serialize, Deserialize)]
pub struct FrozenSession {
    catalog: String,
    database: String,
    #[serde(with = "pairs")]
    configuration: Options,
    lakes: Vec<FrozenCatalog>,
    objects: Vec<(ObjectName, CatalogObject)>,
    /// The INSERTs that make up the job.
    #[serde(default)]
    inserts: Vec<String>,
}

#[derive(Clone, Serialize, Deserialize)]
struct FrozenCatalog {
    name: String,
    #[serde(with = "pairs")]
    options: Options,
}

impl FrozenSession {
    /// What was set in the session, without defaults.
    #[must_use]
    pub const fn configuration(&self) -> &Options {
        &self.configuration
    }

    /// The statement that submits the same job, whatever statement did: one that also made a table is not
    /// to be run twice.
    #[must_use]
    pub fn statement(&self) -> String {
        match self.inserts.as_slice() {
            [only] => only.clone(),
            inserts => format!("EXECUTE STATEMENT SET BEGIN\n{}\n;\nEND", inserts.join("\n;\n")),
        }
    }
}

/// An INSERT as text again.
fn insert_text(insert: &Insert) -> String {
    let quoted = |name: &String| format!("`{}`", name.replace('`', "``"));
    let list =
        |names: &[String], with: &str| names.iter().map(quoted).collect::<Vec<_>>().join(with);
    let mut text = format!("INSERT INTO {}", list(&insert.target.name.parts, "."));
    let literal = |value: &str| format!("'{}'", value.replace('\'', "''"));
    let hints: Vec<String> = insert
        .target
        .options
        .iter()
        .map(|(key, value)| format!("{} = {}", literal(key), literal(value)))
        .collect();
    if !hints.is_empty() {
        text.push_str(&format!(" /*+ OPTIONS({}) */", hints.join(", ")));
    }
    if !insert.columns.is_empty() {
        text.push_str(&format!(" ({})", list(&insert.columns, ", ")));
    }
    format!("{text} {}", insert.query.text)
}

impl Session {
    /// What a statement planned in this context has seen.
    pub(super) fn freeze(
        &self,
        context: &PlannerContext,
        inserts: &[Insert],
    ) -> Result<FrozenSession, Diagnostic> {
        let mut lakes: Vec<FrozenCatalog> = Vec::new();
        let mut objects = Vec::new();
        for (name, object) in context.seen.lock().iter() {
            if self.catalogs.is_temporary(name) {
                objects.push((name.clone(), object.clone()));
                continue;
            }
            let catalog = self.catalogs.catalog(&name.catalog)?;
            let options = catalog.options();
            if options.get("type") == Some("generic_in_memory") {
                objects.push((name.clone(), object.clone()));
            } else if !lakes.iter().any(|lake| lake.name == name.catalog) {
                let (name, options) = (name.catalog.clone(), options.clone());
                lakes.push(FrozenCatalog { name, options });
            }
        }
        Ok(FrozenSession {
            catalog: self.catalog.clone(),
            database: self.database.clone(),
            configuration: self.configuration.explicit(),
            lakes,
            objects,
            inserts: inserts.iter().map(insert_text).collect(),
        })
    }

    /// A session in which a statement finds what it found before.
    ///
    /// # Errors
    /// A catalog cannot be opened, or a setting is no longer possible.
    pub fn thaw(frozen: &FrozenSession, connectors: Connectors) -> Result<Self, Diagnostic> {
        let settings = frozen.configuration.iter();
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let mut session = Self::new(connectors, Configuration::new(settings)?);
        for lake in &frozen.lakes {
            session.catalogs.create_catalog(&lake.name, lake.options.clone())?;
        }
        for (name, object) in &frozen.objects {
            session.catalogs.overlay(name.clone(), object.clone());
        }
        session.catalog.clone_from(&frozen.catalog);
        session.database.clone_from(&frozen.database);
        Ok(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::parse_statement;
    use crate::statement::Statement;

    #[test]
    fn an_insert_is_written_as_it_was_meant() {
        let text = "insert into a.`b c` /*+ OPTIONS('k'='it''s') */ (x, y) SELECT 1, 'z' -- end";
        let Ok(Statement::Insert(insert)) = parse_statement(text) else { panic!("no insert") };
        let again = insert_text(&insert);
        let Ok(Statement::Insert(second)) = parse_statement(&again) else { panic!("{again}") };
        assert_eq!(second.target.name.parts, ["a", "b c"]);
        assert_eq!(second.target.options.get("k"), Some("it's"));
        assert_eq!(second.columns, ["x", "y"]);
        assert_eq!(insert_text(&second), again);
    }
}
