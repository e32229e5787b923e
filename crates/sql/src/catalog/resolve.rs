//! From a name in a statement to the table that it stands for.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use shardlake_change::{Column, LogicalType, TableSchema};
use shardlake_connector::{ObjectName, Options, TableDefinition};

use super::{CatalogObject, CatalogStore, CatalogTable, CatalogView, ColumnKind, Connectors};
use crate::diagnostic::{Code, Diagnostic};
use crate::session::Configuration;
use crate::statement::{Query, TableReference, TimeTravel};

/// What planning needs to know of a session. A copy: later statements do not change it, except that
/// catalogs are shared.
#[derive(Clone)]
pub struct PlannerContext {
    pub(crate) catalogs: Arc<CatalogStore>,
    /// The connectors.
    pub connectors: Connectors,
    /// What `SET` has set, and the defaults.
    pub configuration: Configuration,
    /// The current catalog.
    pub catalog: String,
    /// The current database.
    pub database: String,
    /// The objects that were looked up, in this context and those made of it.
    pub(crate) seen: Arc<Mutex<BTreeMap<ObjectName, CatalogObject>>>,
}

/// What a name stands for.
#[derive(Clone, Debug)]
pub enum Resolved {
    /// A table.
    Table(Box<ResolvedTable>),
    /// A view.
    View(Box<ResolvedView>),
}

/// A table that a statement uses.
#[derive(Clone, Debug)]
pub struct ResolvedTable {
    /// Its full name.
    pub name: ObjectName,
    /// The value of `connector`; `iceberg` for a table of an Iceberg catalog.
    pub connector: Option<String>,
    /// Physical and metadata columns as connectors see them. Its options have those of hints merged
    /// in, time travel as `as-of-timestamp` or `snapshot-id`, and no `connector`.
    pub definition: TableDefinition,
    /// All columns in their declared order: what `SELECT *` gives.
    pub columns: Vec<ResolvedColumn>,
    /// For `t$snapshots` and the like: the part behind `$`.
    pub metadata_table: Option<String>,
}

/// A column of a table, in its declared order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolvedColumn {
    /// Column `index` of the definition's schema.
    Stored {
        /// Index into `definition.schema.columns`.
        index: usize,
        /// Whether an INSERT can fill it: physical columns, and metadata columns without `VIRTUAL`.
        writable: bool,
    },
    /// A computed column.
    Computed {
        /// Its name.
        name: String,
        /// The text of its expression over the other columns.
        expression: String,
    },
}

impl ResolvedTable {
    /// The name of a column of [`ResolvedTable::columns`].
    #[must_use]
    pub fn column_name<'a>(&'a self, column: &'a ResolvedColumn) -> &'a str {
        match column {
            ResolvedColumn::Stored { index, .. } => {
                self.definition.schema.columns.get(*index).map_or("", |column| column.name.as_str())
            }
            ResolvedColumn::Computed { name, .. } => name,
        }
    }

    /// The columns that an INSERT fills, as indices into the definition's schema.
    #[must_use]
    pub fn writable_columns(&self) -> Vec<usize> {
        self.columns
            .iter()
            .filter_map(|column| match column {
                ResolvedColumn::Stored { index, writable: true } => Some(*index),
                ResolvedColumn::Stored { .. } | ResolvedColumn::Computed { .. } => None,
            })
            .collect()
    }
}

/// A view that a statement uses.
#[derive(Clone, Debug)]
pub struct ResolvedView {
    /// Its full name.
    pub name: ObjectName,
    /// The names of its columns; empty: those of the query.
    pub columns: Vec<String>,
    /// What it selects. Its names are looked up through `context`.
    pub query: Query,
    /// The catalog and database in which the names of the query are looked up.
    pub scope: (String, String),
}

impl PlannerContext {
    /// The same context with another current catalog and database: for the query of a view.
    #[must_use]
    pub fn in_scope(&self, scope: &(String, String)) -> Self {
        Self { catalog: scope.0.clone(), database: scope.1.clone(), ..self.clone() }
    }

    /// Completes a name of one to three parts.
    ///
    /// # Errors
    /// A name of more parts.
    pub fn full_name(&self, parts: &[String]) -> Result<ObjectName, Diagnostic> {
        let (catalog, database, object) = match parts {
            [object] => (self.catalog.clone(), self.database.clone(), object.clone()),
            [database, object] => (self.catalog.clone(), database.clone(), object.clone()),
            [catalog, database, object] => (catalog.clone(), database.clone(), object.clone()),
            _ => {
                let name = parts.join(".");
                return Err(Diagnostic::new(
                    Code::ObjectNotFound,
                    format!("'{name}' is no name: at most catalog.database.table is possible."),
                ));
            }
        };
        Ok(ObjectName { catalog, database, object })
    }

    /// Finds what a reference stands for.
    ///
    /// # Errors
    /// Nothing has this name, a catalog cannot be read, or a hint does not fit.
    pub async fn resolve(&self, reference: &TableReference) -> Result<Resolved, Diagnostic> {
        let span = reference.name.span;
        let name = self.full_name(&reference.name.parts).map_err(|error| error.at(span))?;
        let object = self.look_up(&name).await.map_err(|error| error.at(span))?;
        match object {
            Some(CatalogObject::Table(table)) => self.table(name, table, None, reference),
            Some(CatalogObject::View(view)) => view_of(name, &view, reference),
            None => self.metadata_table(name, reference).await,
        }
        .map_err(|error| error.at(span))
    }

    async fn look_up(&self, name: &ObjectName) -> Result<Option<CatalogObject>, Diagnostic> {
        let object = self.catalogs.get(name).await?;
        if let Some(object) = &object {
            self.seen.lock().insert(name.clone(), object.clone());
        }
        Ok(object)
    }

    /// `t$snapshots` is the metadata table `snapshots` of table `t`.
    async fn metadata_table(
        &self,
        name: ObjectName,
        reference: &TableReference,
    ) -> Result<Resolved, Diagnostic> {
        let not_found = || Diagnostic::object_not_found(&reference.name.parts.join("."));
        let (base, kind) = name.object.rsplit_once('$').ok_or_else(not_found)?;
        let base = ObjectName { object: base.to_owned(), ..name.clone() };
        match self.look_up(&base).await? {
            Some(CatalogObject::Table(table)) => {
                self.table(base, table, Some(kind.to_owned()), reference)
            }
            Some(CatalogObject::View(_)) | None => Err(not_found()),
        }
    }

    fn table(
        &self,
        name: ObjectName,
        table: CatalogTable,
        metadata_table: Option<String>,
        reference: &TableReference,
    ) -> Result<Resolved, Diagnostic> {
        let mut options = table.options.clone();
        self.add_hints(&mut options, reference)?;
        let connector = options.remove("connector");
        let (schema, metadata, columns) = split_columns(&table);
        let definition = TableDefinition {
            name: name.clone(),
            schema,
            metadata,
            options,
            partitioned_by: table.partitioned_by,
            comment: table.comment,
        };
        let table = ResolvedTable { name, connector, definition, columns, metadata_table };
        Ok(Resolved::Table(Box::new(table)))
    }

    fn add_hints(
        &self,
        options: &mut Options,
        reference: &TableReference,
    ) -> Result<(), Diagnostic> {
        let enabled = self.configuration.get("table.dynamic-table-options.enabled");
        if reference.options.iter().next().is_some() && enabled.as_deref() == Some("false") {
            return Err(Diagnostic::new(
                Code::Configuration,
                "The 'OPTIONS' hint is allowed only when the config option \
                 'table.dynamic-table-options.enabled' is set to true.",
            ));
        }
        for (key, value) in reference.options.iter() {
            options.set(key, value);
        }
        let Some(time_travel) = &reference.time_travel else {
            return Ok(());
        };
        if options.get("connector") != Some("iceberg") {
            return Err(Diagnostic::unsupported(
                "Time travel on a table whose connector is not 'iceberg'",
            ));
        }
        match time_travel {
            TimeTravel::Snapshot(id) => options.set("snapshot-id", id.to_string()),
            TimeTravel::Reference(name) => options.set("tag", name.as_str()),
            TimeTravel::Gtid(set) => options.set("as-of-gtid", set.as_str()),
            TimeTravel::Timestamp(text) => {
                let instant = self.configuration.instant_ms(text)?;
                options.set("as-of-timestamp", instant.to_string());
            }
        }
        Ok(())
    }
}

fn view_of(
    name: ObjectName,
    view: &CatalogView,
    reference: &TableReference,
) -> Result<Resolved, Diagnostic> {
    if reference.options.iter().next().is_some() || reference.time_travel.is_some() {
        let message = format!("View '{name}' cannot take hints or time travel.");
        return Err(Diagnostic::new(Code::TableOptions, message)
            .with_hint("Put the hint on the table inside the view's query."));
    }
    // Places in the text of a view are no places in the statement.
    let query = crate::parser::parse_query(&view.query)
        .map_err(|error| Diagnostic { span: None, ..error })?;
    Ok(Resolved::View(Box::new(ResolvedView {
        name,
        columns: view.columns.clone(),
        query,
        scope: view.scope.clone(),
    })))
}

fn split_columns(table: &CatalogTable) -> (TableSchema, Vec<Option<String>>, Vec<ResolvedColumn>) {
    let mut schema = TableSchema::default();
    let mut metadata = Vec::new();
    let mut columns = Vec::new();
    let key = table.primary_key.as_ref().map(|key| key.columns.clone()).unwrap_or_default();
    for column in &table.columns {
        let mut store = |data_type: &LogicalType, nullable: bool, key: Option<String>, writable| {
            columns.push(ResolvedColumn::Stored { index: schema.columns.len(), writable });
            schema.columns.push(Column {
                name: column.name.clone(),
                data_type: data_type.clone(),
                nullable,
                comment: column.comment.clone(),
            });
            metadata.push(key);
        };
        match &column.kind {
            ColumnKind::Physical { data_type, nullable } => {
                store(data_type, *nullable && !key.contains(&column.name), None, true);
            }
            ColumnKind::Metadata { data_type, nullable, key, is_virtual } => {
                let key = key.clone().unwrap_or_else(|| column.name.clone());
                store(data_type, *nullable, Some(key), !is_virtual);
            }
            ColumnKind::Computed { expression } => columns.push(ResolvedColumn::Computed {
                name: column.name.clone(),
                expression: expression.clone(),
            }),
        }
    }
    schema.primary_key = key;
    (schema, metadata, columns)
}
