//! Statements that create, change, drop and choose objects.

use std::collections::BTreeSet;

use shardlake_change::{Column, LogicalType};
use shardlake_connector::{ObjectName, Options};

use super::{Session, StatementOutcome};
use crate::catalog::{
    CatalogObject, CatalogTable, CatalogView, ColumnDefinition, ColumnKind, DEFAULT_CATALOG,
    derive_like, partition_column,
};
use crate::diagnostic::{Code, Diagnostic};
use crate::planner;
use crate::statement::{
    CreateCatalog, CreateDatabase, CreateTable, CreateView, Drop, Insert, Name, ObjectKind, Query,
    TableReference,
};

impl Session {
    /// Completes the name of a table or view.
    pub(super) fn full_name(&self, name: &Name) -> Result<ObjectName, Diagnostic> {
        self.planner_context().full_name(&name.parts).map_err(|error| error.at(name.span))
    }

    /// Completes the name of a database.
    pub(super) fn database_name(&self, name: &Name) -> Result<(String, String), Diagnostic> {
        match name.parts.as_slice() {
            [database] => Ok((self.catalog.clone(), database.clone())),
            [catalog, database] => Ok((catalog.clone(), database.clone())),
            _ => Err(no_name("database", name)),
        }
    }

    fn catalog_name(name: &Name) -> Result<&str, Diagnostic> {
        match name.parts.as_slice() {
            [catalog] => Ok(catalog),
            _ => Err(no_name("catalog", name)),
        }
    }

    pub(super) async fn create_table(
        &self,
        mut create: CreateTable,
    ) -> Result<StatementOutcome, Diagnostic> {
        match create.query.take() {
            Some(query) => self.create_table_as(create, query).await,
            None => self.make_table(create).await,
        }
    }

    async fn make_table(&self, create: CreateTable) -> Result<StatementOutcome, Diagnostic> {
        let name = self.full_name(&create.name)?;
        let base = match &create.like {
            None => None,
            Some(like) => Some(self.like_base(&like.base).await?),
        };
        let span = create.name.span;
        let table = derive_like(&create, base.as_ref()).map_err(|error| error.at(span))?;
        check_table(&table).map_err(|error| error.at(span))?;
        let object = CatalogObject::Table(table);
        self.add(name, object, create.temporary, create.if_not_exists)
            .await
            .map_err(|error| error.at(span))
    }

    /// `CREATE TABLE … AS SELECT`: makes the table, then submits the INSERT that fills it.
    async fn create_table_as(
        &self,
        mut create: CreateTable,
        query: Query,
    ) -> Result<StatementOutcome, Diagnostic> {
        let span = create.name.span;
        if create.temporary || create.like.is_some() {
            let what = if create.temporary { "A temporary table" } else { "LIKE" };
            let what = format!("{what} in CREATE TABLE … AS SELECT");
            return Err(Diagnostic::unsupported(&what).at(span));
        }
        let name = self.full_name(&create.name)?;
        let exists = self.catalogs.get(&name).await.map_err(|error| error.at(span))?.is_some();
        if exists && create.if_not_exists {
            return Ok(StatementOutcome::done());
        }
        let columns = planner::query_columns(&self.planner_context(), &query).await?;
        let names = columns.iter().map(|column| column.name.clone()).collect();
        create.columns = columns_as(&create.columns, columns).map_err(|error| error.at(span))?;
        let insert = Insert {
            target: TableReference {
                name: create.name.clone(),
                options: Options::default(),
                time_travel: None,
            },
            columns: names,
            query,
        };
        self.make_table(create).await?;
        match self.submit(&[insert]).await {
            Err(error) => {
                // A table that nothing will fill is not left behind.
                self.catalogs.remove(&name).await?;
                Err(error)
            }
            submitted => submitted,
        }
    }

    async fn like_base(&self, name: &Name) -> Result<CatalogTable, Diagnostic> {
        let base = self.full_name(name)?;
        match self.catalogs.get(&base).await.map_err(|error| error.at(name.span))? {
            Some(CatalogObject::Table(table)) => Ok(table),
            Some(CatalogObject::View(_)) => {
                let message = format!("'{base}' in the LIKE clause is a view, not a table.");
                Err(Diagnostic::table_definition(message).at(name.span))
            }
            None => {
                let message =
                    format!("Source table '{base}' of the LIKE clause not found in the catalog");
                Err(Diagnostic::new(Code::ObjectNotFound, message).at(name.span))
            }
        }
    }

    pub(super) async fn create_view(
        &self,
        create: CreateView,
    ) -> Result<StatementOutcome, Diagnostic> {
        let name = self.full_name(&create.name)?;
        let span = create.name.span;
        let columns = planner::query_columns(&self.planner_context(), &create.query).await?;
        if !create.columns.is_empty() && create.columns.len() != columns.len() {
            let message = format!(
                "VIEW definition and input fields not match:\n\tDef fields: [{}].\n\tInput fields: [{}].",
                create.columns.join(", "),
                columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
            );
            return Err(Diagnostic::table_definition(message).at(span));
        }
        let names = if create.columns.is_empty() {
            columns.into_iter().map(|column| column.name).collect()
        } else {
            create.columns
        };
        check_unique(names.iter().map(String::as_str)).map_err(|error| error.at(span))?;
        let view = CatalogView {
            columns: names,
            query: create.query.text,
            scope: (self.catalog.clone(), self.database.clone()),
            comment: create.comment,
        };
        self.add(name, CatalogObject::View(view), create.temporary, create.if_not_exists)
            .await
            .map_err(|error| error.at(span))
    }

    async fn add(
        &self,
        name: ObjectName,
        object: CatalogObject,
        temporary: bool,
        if_not_exists: bool,
    ) -> Result<StatementOutcome, Diagnostic> {
        let added = if temporary {
            self.catalogs.create_temporary(name, object)
        } else {
            match self.catalogs.create(&name, object.clone()).await {
                // Sessions that share their catalogs may each bring the same definitions with them.
                Err(error) if error.code == Code::ObjectExists && self.catalogs.is_durable() => {
                    let existing = self.catalogs.get(&name).await?;
                    if existing == Some(object) { Ok(()) } else { Err(shared(error)) }
                }
                other => other,
            }
        };
        match added {
            Err(error) if error.code == Code::ObjectExists && if_not_exists => {
                Ok(StatementOutcome::done())
            }
            Err(error) => Err(error),
            Ok(()) => Ok(StatementOutcome::done()),
        }
    }

    pub(super) fn create_catalog(
        &self,
        create: CreateCatalog,
    ) -> Result<StatementOutcome, Diagnostic> {
        let name = Self::catalog_name(&create.name)?;
        if create.comment.is_some() {
            return Err(Diagnostic::unsupported("COMMENT on a catalog").at(create.name.span));
        }
        match self.catalogs.create_catalog(name, create.options) {
            Err(error) if error.code == Code::ObjectExists && create.if_not_exists => {
                Ok(StatementOutcome::done())
            }
            Err(error) => Err(error.at(create.name.span)),
            Ok(()) => Ok(StatementOutcome::done()),
        }
    }

    pub(super) async fn create_database(
        &self,
        create: CreateDatabase,
    ) -> Result<StatementOutcome, Diagnostic> {
        let (catalog, database) = self.database_name(&create.name)?;
        let span = create.name.span;
        if create.comment.is_some() {
            return Err(Diagnostic::unsupported("COMMENT on a database").at(span));
        }
        let catalog_object = self.catalogs.catalog(&catalog).map_err(|error| error.at(span))?;
        let existing = catalog_object.databases().await.map_err(|error| error.at(span))?;
        if existing.contains(&database) {
            if create.if_not_exists {
                return Ok(StatementOutcome::done());
            }
            let message = format!("Database {database} already exists in Catalog {catalog}.");
            return Err(Diagnostic::new(Code::ObjectExists, message).at(span));
        }
        let created = catalog_object.create_database(&database, &create.options).await;
        created.map_err(|error| error.at(span))?;
        Ok(StatementOutcome::done())
    }

    pub(super) async fn rename(&self, name: &ObjectName, to: &Name) -> Result<(), Diagnostic> {
        let target = self.planner_context().full_name(&to.parts)?;
        let target = match to.parts.len() {
            // A single name stays in the database of the object.
            1 => ObjectName { object: target.object, ..name.clone() },
            _ => target,
        };
        if target.catalog != name.catalog || target.database != name.database {
            return Err(Diagnostic::unsupported("Moving a table to another database").at(to.span));
        }
        self.catalogs.rename(name, &target.object).await
    }

    pub(super) async fn rename_view(
        &self,
        name: &Name,
        to: &Name,
    ) -> Result<StatementOutcome, Diagnostic> {
        let full = self.full_name(name)?;
        match self.catalogs.get(&full).await.map_err(|error| error.at(name.span))? {
            Some(CatalogObject::View(_)) => {}
            Some(CatalogObject::Table(_)) => {
                let message =
                    format!("ALTER VIEW for a table is not allowed: '{full}' is a table.");
                return Err(Diagnostic::new(Code::SessionState, message).at(name.span));
            }
            None => return Err(alter_not_found(&full).at(name.span)),
        }
        self.rename(&full, to).await.map_err(|error| error.at(name.span))?;
        Ok(StatementOutcome::done())
    }

    pub(super) async fn drop_object(&mut self, drop: Drop) -> Result<StatementOutcome, Diagnostic> {
        let span = drop.name.span;
        let dropped = match drop.kind {
            ObjectKind::Table | ObjectKind::View => self.drop_relation(&drop).await,
            ObjectKind::Database => self.drop_database(&drop).await,
            ObjectKind::Catalog => self.drop_catalog(&drop),
        };
        match dropped {
            Err(error) if error.code == Code::ObjectNotFound && drop.if_exists => {
                Ok(StatementOutcome::done())
            }
            Err(error) => Err(error.at(span)),
            Ok(()) => Ok(StatementOutcome::done()),
        }
    }

    async fn drop_relation(&self, drop: &Drop) -> Result<(), Diagnostic> {
        let name = self.full_name(&drop.name)?;
        let (wanted, is_view) = match drop.kind {
            ObjectKind::View => ("View", true),
            ObjectKind::Table | ObjectKind::Database | ObjectKind::Catalog => ("Table", false),
        };
        let prefix = if drop.temporary {
            format!("Temporary {}", wanted.to_lowercase())
        } else {
            wanted.into()
        };
        let missing = || {
            let message = format!("{prefix} with identifier '{name}' does not exist.");
            Diagnostic::new(Code::ObjectNotFound, message)
        };
        let object = self.catalogs.get(&name).await?.ok_or_else(missing)?;
        if object.is_view() != is_view {
            let kind = if is_view { "TABLE" } else { "VIEW" };
            return Err(
                missing().with_hint(format!("It is a {}: use DROP {kind}.", kind.to_lowercase()))
            );
        }
        let is_temporary = self.catalogs.is_temporary(&name);
        if drop.temporary {
            return if self.catalogs.drop_temporary(&name) { Ok(()) } else { Err(missing()) };
        }
        if is_temporary {
            let message = format!(
                "Temporary {} with identifier '{name}' exists. Drop it first before removing the \
                 permanent {}.",
                wanted.to_lowercase(),
                wanted.to_lowercase()
            );
            return Err(Diagnostic::new(Code::SessionState, message)
                .with_hint(format!("DROP TEMPORARY {} drops it.", wanted.to_uppercase())));
        }
        self.catalogs.remove(&name).await
    }

    async fn drop_database(&mut self, drop: &Drop) -> Result<(), Diagnostic> {
        let (catalog, database) = self.database_name(&drop.name)?;
        if catalog == self.catalog && database == self.database {
            let message =
                format!("Cannot drop a database which is currently in use: '{database}'.");
            return Err(Diagnostic::new(Code::SessionState, message)
                .with_hint("USE another database first."));
        }
        self.catalogs.catalog(&catalog)?.drop_database(&database, drop.cascade).await
    }

    fn drop_catalog(&self, drop: &Drop) -> Result<(), Diagnostic> {
        let name = Self::catalog_name(&drop.name)?;
        if name == self.catalog {
            let message = "Cannot drop a catalog which is currently in use.";
            return Err(Diagnostic::new(Code::SessionState, message)
                .with_hint(format!("USE CATALOG {DEFAULT_CATALOG}; first.")));
        }
        self.catalogs.drop_catalog(name)
    }

    pub(super) fn use_catalog(&mut self, name: &Name) -> Result<StatementOutcome, Diagnostic> {
        let catalog = Self::catalog_name(name)?.to_owned();
        let database =
            self.catalogs.default_database(&catalog).map_err(|error| error.at(name.span))?;
        self.catalog = catalog;
        self.database = database;
        Ok(StatementOutcome::done())
    }

    pub(super) async fn use_database(
        &mut self,
        name: &Name,
    ) -> Result<StatementOutcome, Diagnostic> {
        let (catalog, database) = self.database_name(name)?;
        let found = self.catalogs.catalog(&catalog).map_err(|error| error.at(name.span))?;
        let databases = found.databases().await.map_err(|error| error.at(name.span))?;
        if !databases.contains(&database) {
            let message = format!(
                "A database with name [{database}] does not exist in the catalog: [{catalog}]."
            );
            return Err(Diagnostic::new(Code::ObjectNotFound, message)
                .with_hint("SHOW DATABASES; lists them.")
                .at(name.span));
        }
        self.catalog = catalog;
        self.database = database;
        Ok(StatementOutcome::done())
    }
}

/// The same failure, with what may surprise those who know Flink.
fn shared(error: Diagnostic) -> Diagnostic {
    let hint = "All sessions of a server share its tables. Add IF NOT EXISTS, use CREATE TEMPORARY \
                TABLE, or DROP it first.";
    Diagnostic { hint: Some(hint.to_owned()), ..error }
}

fn no_name(kind: &str, name: &Name) -> Diagnostic {
    let message = format!("'{}' is no name of a {kind}.", name.parts.join("."));
    Diagnostic::new(Code::ObjectNotFound, message).at(name.span)
}

pub(super) fn alter_not_found(name: &ObjectName) -> Diagnostic {
    Diagnostic::new(
        Code::ObjectNotFound,
        format!("Table {name} doesn't exist or is a temporary table."),
    )
    .with_hint("SHOW TABLES; lists the tables of the current database.")
}

fn check_unique<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), Diagnostic> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            let message = format!("Schema must not contain duplicate column names: '{name}'");
            return Err(Diagnostic::table_definition(message));
        }
    }
    Ok(())
}

/// What Flink checks when a table is created; options are checked when it is used.
pub(super) fn check_table(table: &CatalogTable) -> Result<(), Diagnostic> {
    check_unique(table.columns.iter().map(|column| column.name.as_str()))?;
    let find = |name: &String| table.columns.iter().find(|column| column.name == *name);
    let key = table.primary_key.as_ref();
    for column in key.map(|key| key.columns.as_slice()).unwrap_or_default() {
        let name = key.map(|key| key.constraint_name()).unwrap_or_default();
        match find(column).map(|column| &column.kind) {
            None => {
                return Err(Diagnostic::table_definition(format!(
                    "Invalid primary key '{name}'. Column '{column}' does not exist."
                )));
            }
            Some(ColumnKind::Physical { .. }) => {}
            Some(ColumnKind::Metadata { .. } | ColumnKind::Computed { .. }) => {
                return Err(Diagnostic::table_definition(format!(
                    "Invalid primary key '{name}'. Column '{column}' is not a physical column."
                )));
            }
        }
    }
    if let Some(key) = key {
        check_unique(key.columns.iter().map(String::as_str))?;
    }
    for column in table.partitioned_by.iter().map(|entry| partition_column(entry)) {
        if !matches!(find(&column.to_owned()).map(|c| &c.kind), Some(ColumnKind::Physical { .. })) {
            return Err(Diagnostic::table_definition(format!(
                "Partition column '{column}' not defined in the table schema."
            )));
        }
    }
    check_watermark(table)
}

/// The column of a watermark must hold a point in time of at most milliseconds, as Flink asks.
fn check_watermark(table: &CatalogTable) -> Result<(), Diagnostic> {
    let Some(watermark) = &table.watermark else { return Ok(()) };
    let column = table.columns.iter().find(|column| column.name == watermark.column);
    let Some(column) = column else {
        return Err(Diagnostic::table_definition(format!(
            "The rowtime attribute field '{}' is not defined in the table schema.",
            watermark.column
        )));
    };
    let data_type = match &column.kind {
        ColumnKind::Physical { data_type, .. } | ColumnKind::Metadata { data_type, .. } => {
            data_type
        }
        // Its type is known when it is planned.
        ColumnKind::Computed { .. } => return Ok(()),
    };
    if matches!(data_type, LogicalType::Timestamp(0..=3) | LogicalType::TimestampLtz(0..=3)) {
        return Ok(());
    }
    Err(Diagnostic::table_definition(format!(
        "Invalid data type of time field for watermark definition. The field must be of type \
         TIMESTAMP(p) or TIMESTAMP_LTZ(p), the supported precision 'p' is from 0 to 3, but the time \
         field type is {data_type}"
    )))
}

/// The columns of a table that is made from a query: its own declarations, in the query's order, then
/// computed ones.
fn columns_as(
    declared: &[ColumnDefinition],
    of_query: Vec<Column>,
) -> Result<Vec<ColumnDefinition>, Diagnostic> {
    check_unique(of_query.iter().map(|column| column.name.as_str()))?;
    let mut columns: Vec<ColumnDefinition> = Vec::with_capacity(of_query.len());
    for column in of_query {
        let own = declared.iter().find(|own| own.name == column.name).cloned();
        columns.push(own.unwrap_or(ColumnDefinition {
            name: column.name,
            kind: ColumnKind::Physical { data_type: column.data_type, nullable: column.nullable },
            comment: column.comment,
        }));
    }
    for own in declared {
        if columns.iter().any(|column| column.name == own.name) {
            continue;
        }
        if !matches!(own.kind, ColumnKind::Computed { .. }) {
            return Err(Diagnostic::table_definition(format!(
                "Column '{}' is declared, but the query does not deliver it.",
                own.name
            )));
        }
        columns.push(own.clone());
    }
    Ok(columns)
}
