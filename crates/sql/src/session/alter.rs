//! `ALTER TABLE`.
//!
//! The definition of a table of `default_catalog` is changed where it is kept. If the table is one of the
//! lake, the Iceberg table behind it is changed as well, first: an Iceberg table that refuses a change
//! keeps the definition as it was. A table of an Iceberg catalog has no definition but itself.

use shardlake_change::Column;
use shardlake_connector::{ObjectName, Options};
use shardlake_iceberg_table::{ColumnPlace, TableChange, properties};

use super::ddl::{alter_not_found, check_table};
use super::{Session, StatementOutcome};
use crate::catalog::{CatalogObject, CatalogTable, ColumnDefinition, ColumnKind, Resolved};
use crate::diagnostic::{Code, Diagnostic};
use crate::planner;
use crate::statement::{AlterAction, AlterTable, Name, SchemaChange, TableReference};

impl Session {
    pub(super) async fn alter_table(
        &self,
        alter: AlterTable,
    ) -> Result<StatementOutcome, Diagnostic> {
        let span = alter.name.span;
        let name = self.full_name(&alter.name)?;
        let table = match self.catalogs.get(&name).await.map_err(|error| error.at(span))? {
            Some(CatalogObject::Table(table)) => table,
            Some(CatalogObject::View(_)) => {
                let message = format!("ALTER TABLE for a view is not allowed: '{name}' is a view.");
                return Err(Diagnostic::new(Code::SessionState, message).at(span));
            }
            None if alter.if_exists => return Ok(StatementOutcome::done()),
            None => return Err(alter_not_found(&name).at(span)),
        };
        let changed = match alter.action {
            AlterAction::Rename(to) => self.rename(&name, &to).await,
            AlterAction::Set(options) => {
                self.change(&alter.name, &name, table, &Change::Set(options)).await
            }
            AlterAction::Reset(keys) => {
                self.change(&alter.name, &name, table, &Change::Reset(keys)).await
            }
            AlterAction::Schema(changes) => {
                self.change(&alter.name, &name, table, &Change::Schema(changes)).await
            }
            AlterAction::Reference(reference) => self
                .change_lake(&alter.name, &name, &[TableChange::Reference(reference)], true)
                .await
                .map(drop),
        };
        changed.map_err(|error| error.at(span))?;
        Ok(StatementOutcome::done())
    }

    async fn change(
        &self,
        written: &Name,
        name: &ObjectName,
        mut table: CatalogTable,
        change: &Change,
    ) -> Result<(), Diagnostic> {
        let former = table.clone();
        change.apply(&mut table)?;
        check_table(&table)?;
        if former.options.get("connector") == Some("iceberg") {
            let is_whole = self.catalogs.keeps_tables(name)?;
            let lake = change.for_lake(&former, is_whole)?;
            if self.change_lake(written, name, &lake, is_whole).await? && is_whole {
                return Ok(());
            }
        }
        self.catalogs.replace(name, CatalogObject::Table(table)).await
    }

    /// Changes the Iceberg table itself. False if the table is none, or does not exist yet although its
    /// definition does; with `must_exist` that is an error.
    async fn change_lake(
        &self,
        written: &Name,
        name: &ObjectName,
        changes: &[TableChange],
        must_exist: bool,
    ) -> Result<bool, Diagnostic> {
        if changes.is_empty() {
            return Ok(true);
        }
        if self.catalogs.alter(name, changes).await? {
            return Ok(true);
        }
        let reference = TableReference {
            name: written.clone(),
            options: Options::default(),
            time_travel: None,
        };
        let context = self.planner_context();
        match context.resolve(&reference).await? {
            Resolved::Table(table) if table.connector.as_deref() == Some("iceberg") => {
                match planner::alter_lake_table(&table, changes).await {
                    Err(error) if error.code == Code::ObjectNotFound && !must_exist => Ok(false),
                    changed => changed.map(|()| true),
                }
            }
            Resolved::Table(_) | Resolved::View(_) => {
                let message = format!("Table '{name}' is no Iceberg table: it has no such thing.");
                Err(Diagnostic::new(Code::SessionState, message))
            }
        }
    }
}

/// A change of a definition.
enum Change {
    Set(Options),
    Reset(Vec<String>),
    Schema(Vec<SchemaChange>),
}

impl Change {
    fn apply(&self, table: &mut CatalogTable) -> Result<(), Diagnostic> {
        match self {
            Self::Set(options) => {
                for (key, value) in options.iter() {
                    table.options.set(key, value);
                }
            }
            Self::Reset(keys) => {
                if keys.iter().any(|key| key == "connector") {
                    let message = "ALTER TABLE RESET does not support changing 'connector'";
                    return Err(Diagnostic::new(Code::TableOptions, message));
                }
                for key in keys {
                    table.options.remove(key);
                }
            }
            Self::Schema(changes) => {
                for change in changes {
                    apply(change, table)?;
                }
            }
        }
        Ok(())
    }

    /// The same for the Iceberg table. With `is_whole` the table is kept in its catalog alone, so nothing
    /// may be left out.
    fn for_lake(
        &self,
        former: &CatalogTable,
        is_whole: bool,
    ) -> Result<Vec<TableChange>, Diagnostic> {
        match self {
            Self::Set(options) => {
                for (key, value) in options.iter() {
                    let is_upgrade = key == "format-version" && ["2", "3"].contains(&value);
                    if is_whole && !properties::is_table_property(key) && !is_upgrade {
                        return Err(no_property(key));
                    }
                }
                let kept = options.iter().filter(|(key, _)| {
                    properties::is_table_property(key) || *key == "format-version"
                });
                let set = kept
                    .map(|(key, value)| TableChange::SetProperty(key.to_owned(), value.to_owned()));
                Ok(set.collect())
            }
            Self::Reset(keys) => {
                if let Some(key) =
                    keys.iter().find(|key| is_whole && !properties::is_table_property(key))
                {
                    return Err(no_property(key));
                }
                let kept = keys.iter().filter(|key| properties::is_table_property(key));
                Ok(kept.cloned().map(TableChange::RemoveProperty).collect())
            }
            Self::Schema(changes) => {
                let mut found = Vec::with_capacity(changes.len());
                for change in changes {
                    found.extend(schema_for_lake(change, former, is_whole)?);
                }
                Ok(found)
            }
        }
    }
}

fn no_property(key: &str) -> Diagnostic {
    let what = format!("Option '{key}' of an Iceberg table, with this value,");
    Diagnostic::unsupported(&what).with_hint(
        "Possible are 'format-version' and keys that begin with write., read., commit., history. or \
         shardlake.table.",
    )
}

fn schema_for_lake(
    change: &SchemaChange,
    former: &CatalogTable,
    is_whole: bool,
) -> Result<Option<TableChange>, Diagnostic> {
    let is_stored = |name: &str| {
        let column = former.columns.iter().find(|column| column.name == name);
        !column.is_some_and(|column| !matches!(column.kind, ColumnKind::Physical { .. }))
    };
    Ok(match change {
        SchemaChange::AddColumn(column, place) => {
            let place = place.clone().filter(|place| match place {
                ColumnPlace::First => true,
                ColumnPlace::After(other) => is_stored(other),
            });
            stored(column, is_whole)?.map(|column| TableChange::AddColumn { column, place })
        }
        SchemaChange::ModifyColumn(column, place) => stored(column, is_whole)?
            .map(|column| TableChange::ModifyColumn { column, place: place.clone() }),
        SchemaChange::RenameColumn { from, to } if is_stored(from) => {
            Some(TableChange::RenameColumn { from: from.clone(), to: to.clone() })
        }
        SchemaChange::DropColumn(name) if is_stored(name) => {
            Some(TableChange::DropColumn(name.clone()))
        }
        SchemaChange::RenameColumn { .. } | SchemaChange::DropColumn(_) => None,
        SchemaChange::AddPrimaryKey(key) | SchemaChange::ModifyPrimaryKey(key) => {
            Some(TableChange::SetPrimaryKey(key.columns.clone()))
        }
        SchemaChange::DropPrimaryKey(_) => Some(TableChange::SetPrimaryKey(Vec::new())),
        SchemaChange::AddWatermark(_)
        | SchemaChange::ModifyWatermark(_)
        | SchemaChange::DropWatermark => {
            if is_whole {
                return Err(Diagnostic::unsupported("WATERMARK on a table of an Iceberg catalog")
                    .with_hint("Declare the table in default_catalog to give it a watermark."));
            }
            None
        }
    })
}

/// The column as Iceberg stores it; none if it is only computed.
fn stored(column: &ColumnDefinition, is_whole: bool) -> Result<Option<Column>, Diagnostic> {
    match &column.kind {
        ColumnKind::Physical { data_type, nullable } => Ok(Some(Column {
            name: column.name.clone(),
            data_type: data_type.clone(),
            nullable: *nullable,
            comment: column.comment.clone(),
        })),
        ColumnKind::Metadata { .. } | ColumnKind::Computed { .. } if is_whole => {
            let what = format!(
                "Column '{}': a computed or metadata column in an Iceberg catalog",
                column.name
            );
            Err(Diagnostic::unsupported(&what)
                .with_hint("Declare a physical column, or compute it in the query."))
        }
        ColumnKind::Metadata { .. } | ColumnKind::Computed { .. } => Ok(None),
    }
}

/// Changes a definition, with Flink's messages for what does not fit.
#[expect(clippy::too_many_lines, reason = "one arm for each kind of change, in one table")]
fn apply(change: &SchemaChange, table: &mut CatalogTable) -> Result<(), Diagnostic> {
    match change {
        SchemaChange::AddColumn(column, place) => {
            if table.columns.iter().any(|other| other.name == column.name) {
                return Err(exists(&column.name));
            }
            let at = target(table, place.as_ref())?.unwrap_or(table.columns.len());
            table.columns.insert(at, column.clone());
        }
        SchemaChange::ModifyColumn(column, place) => {
            let at = find(table, &column.name)?;
            let former = table.columns.remove(at);
            let mut column = column.clone();
            column.comment = column.comment.or(former.comment);
            let to = target(table, place.as_ref())?.unwrap_or(at);
            table.columns.insert(to, column);
        }
        SchemaChange::RenameColumn { from, to } => {
            let at = find(table, from)?;
            if table.columns.iter().any(|other| other.name == *to) {
                return Err(exists(to));
            }
            check_unused(table, from, "rename")?;
            for name in table
                .primary_key
                .iter_mut()
                .flat_map(|key| key.columns.iter_mut())
                .chain(table.partitioned_by.iter_mut())
                .filter(|name| *name == from)
            {
                name.clone_from(to);
            }
            if let Some(column) = table.columns.get_mut(at) {
                column.name.clone_from(to);
            }
        }
        SchemaChange::DropColumn(name) => {
            let at = find(table, name)?;
            check_unused(table, name, "drop")?;
            if table.primary_key.as_ref().is_some_and(|key| key.columns.contains(name)) {
                return Err(Diagnostic::table_definition(format!(
                    "Failed to execute ALTER TABLE statement. The column `{name}` is used as the \
                     primary key."
                )));
            }
            table.columns.remove(at);
        }
        SchemaChange::AddPrimaryKey(key) => {
            if let Some(former) = &table.primary_key {
                return Err(Diagnostic::table_definition(format!(
                    "The base table has already defined the primary key constraint [{}]. You might \
                     want to drop it before adding a new one.",
                    former.columns.join(", ")
                )));
            }
            table.primary_key = Some(key.clone());
        }
        SchemaChange::ModifyPrimaryKey(key) => {
            table.primary_key.take().ok_or_else(no_key)?;
            table.primary_key = Some(key.clone());
        }
        SchemaChange::DropPrimaryKey(name) => {
            let key = table.primary_key.take().ok_or_else(no_key)?;
            if name.as_ref().is_some_and(|name| *name != key.constraint_name()) {
                return Err(Diagnostic::table_definition(format!(
                    "The base table does not define a primary key constraint named '{}'. Available \
                     constraint name: ['{}'].",
                    name.clone().unwrap_or_default(),
                    key.constraint_name()
                )));
            }
        }
        SchemaChange::AddWatermark(watermark) => {
            if table.watermark.replace(watermark.clone()).is_some() {
                return Err(Diagnostic::table_definition(
                    "The base table has already defined the watermark strategy. You might want to drop \
                     it before adding a new one.",
                ));
            }
        }
        SchemaChange::ModifyWatermark(watermark) => {
            table.watermark.replace(watermark.clone()).ok_or_else(no_watermark)?;
        }
        SchemaChange::DropWatermark => {
            table.watermark.take().ok_or_else(no_watermark)?;
        }
    }
    Ok(())
}

fn exists(name: &str) -> Diagnostic {
    Diagnostic::table_definition(format!("Column `{name}` already exists in the table."))
}

fn no_key() -> Diagnostic {
    Diagnostic::table_definition(
        "The base table does not define any primary key constraint. You might want to add a new one.",
    )
}

fn no_watermark() -> Diagnostic {
    Diagnostic::table_definition(
        "The base table does not define any watermark strategy. You might want to add a new one.",
    )
}

fn find(table: &CatalogTable, name: &str) -> Result<usize, Diagnostic> {
    table.columns.iter().position(|column| column.name == name).ok_or_else(|| {
        let known: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        let message = format!("The column `{name}` does not exist in the base table.");
        Diagnostic::new(Code::ColumnNotFound, message)
            .with_hint(format!("Columns: {}", known.join(", ")))
    })
}

fn target(table: &CatalogTable, place: Option<&ColumnPlace>) -> Result<Option<usize>, Diagnostic> {
    Ok(match place {
        None => None,
        Some(ColumnPlace::First) => Some(0),
        Some(ColumnPlace::After(other)) => Some(find(table, other)? + 1),
    })
}

/// Refuses to take a column away from an expression that reads it.
fn check_unused(table: &CatalogTable, name: &str, verb: &str) -> Result<(), Diagnostic> {
    let mentions = |expression: &str| {
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        expression.split(|c| !is_part(c)).any(|word| word == name)
    };
    let user = table.columns.iter().find_map(|column| match &column.kind {
        ColumnKind::Computed { expression } if mentions(expression) => {
            Some(format!("computed column `{}`", column.name))
        }
        _ => None,
    });
    let watermark = table
        .watermark
        .as_ref()
        .filter(|watermark| watermark.column == name || mentions(&watermark.expression));
    match user.or_else(|| watermark.map(|_| "watermark strategy".to_owned())) {
        None => Ok(()),
        Some(user) => Err(Diagnostic::table_definition(format!(
            "Failed to execute ALTER TABLE statement. The column `{name}` is referenced by {user}: \
             {verb} that first."
        ))),
    }
}
