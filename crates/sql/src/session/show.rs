//! Statements that list and describe objects.

use shardlake_change::{Column, LogicalType};
use shardlake_connector::{ObjectName, Options};

use super::{Configuration, Layout, ResultTable, Session, StatementOutcome};
use crate::catalog::{CatalogObject, CatalogTable, ColumnKind, Resolved};
use crate::diagnostic::{Code, Diagnostic, Span};
use crate::planner;
use crate::print::ddl;
use crate::statement::{Name, Pattern, Show, TableReference};

/// A row of `DESCRIBE`.
struct ColumnRow {
    name: String,
    data_type: String,
    nullable: bool,
    key: Option<String>,
    extras: Option<String>,
    watermark: Option<String>,
    comment: Option<String>,
}

/// `SET;`
pub(super) fn settings(configuration: &Configuration) -> Result<ResultTable, Diagnostic> {
    let all = configuration.to_options();
    let (keys, values): (Vec<_>, Vec<_>) =
        all.masked().map(|(key, value)| (Some(key.to_owned()), Some(value.to_owned()))).unzip();
    ResultTable::new(
        vec![
            ("key", LogicalType::String, ResultTable::texts(keys)),
            ("value", LogicalType::String, ResultTable::texts(values)),
        ],
        Layout::Table,
    )
}

impl Session {
    pub(super) async fn show(&self, show: Show) -> Result<StatementOutcome, Diagnostic> {
        let table = match show {
            Show::Catalogs(pattern) => {
                names("catalog name", self.catalogs.catalog_names(), pattern.as_ref())
            }
            Show::Databases { from, pattern } => {
                let catalog = match &from {
                    Some(Name { parts, .. }) => parts.join("."),
                    None => self.catalog.clone(),
                };
                let span = from.map(|name| name.span);
                let catalog = self.catalogs.catalog(&catalog).map_err(|error| error.at(span))?;
                names("database name", catalog.databases().await?, pattern.as_ref())
            }
            Show::Tables { from, pattern } => {
                let objects = self.objects(from.as_ref()).await?;
                let all = objects.into_iter().map(|(name, _)| name).collect();
                names("table name", all, pattern.as_ref())
            }
            Show::Views { from, pattern } => {
                let objects = self.objects(from.as_ref()).await?;
                let views =
                    objects.into_iter().filter(|(_, is_view)| *is_view).map(|(name, _)| name);
                names("view name", views.collect(), pattern.as_ref())
            }
            Show::Columns { table, pattern } => self.describe(&table, pattern.as_ref()).await,
            Show::Functions { user, pattern } => {
                let all = if user { Vec::new() } else { function_names() };
                names("function name", all, pattern.as_ref())
            }
            Show::Modules { full } => modules(full),
            Show::Jars => ResultTable::names("jars", []),
            Show::Jobs => return Ok(StatementOutcome::ShowJobs),
            Show::CurrentCatalog => {
                ResultTable::names("current catalog name", [self.catalog.clone()])
            }
            Show::CurrentDatabase => {
                ResultTable::names("current database name", [self.database.clone()])
            }
            Show::CreateTable(name) => self.show_create_table(&name).await,
            Show::CreateView(name) => self.show_create_view(&name).await,
            Show::CreateCatalog(name) => self.show_create_catalog(&name),
        };
        table.map(StatementOutcome::Table)
    }

    async fn objects(&self, from: Option<&Name>) -> Result<Vec<(String, bool)>, Diagnostic> {
        let (catalog, database) = match from {
            Some(name) => self.database_name(name)?,
            None => (self.catalog.clone(), self.database.clone()),
        };
        let span = from.map(|name| name.span);
        self.catalogs.list(&catalog, &database).await.map_err(|error| error.at(span))
    }

    async fn object(
        &self,
        name: &Name,
        missing: impl FnOnce(&ObjectName) -> String,
    ) -> Result<(ObjectName, CatalogObject), Diagnostic> {
        let full = self.full_name(name)?;
        match self.catalogs.get(&full).await.map_err(|error| error.at(name.span))? {
            Some(object) => Ok((full, object)),
            None => Err(Diagnostic::new(Code::ObjectNotFound, missing(&full))
                .with_hint("SHOW TABLES; lists the tables of the current database.")
                .at(name.span)),
        }
    }

    async fn show_create_table(&self, name: &Name) -> Result<ResultTable, Diagnostic> {
        let missing = |full: &ObjectName| {
            format!(
                "Could not execute SHOW CREATE TABLE. Table with identifier {} does not exist.",
                ddl::quoted(full)
            )
        };
        match self.object(name, missing).await? {
            (full, CatalogObject::Table(table)) => {
                let is_temporary = self.catalogs.is_temporary(&full);
                ResultTable::text(ddl::create_table(&full, &table, is_temporary))
            }
            (full, CatalogObject::View(_)) => {
                let message = format!(
                    "SHOW CREATE TABLE is only supported for tables, but {} is a view. Please use SHOW \
                     CREATE VIEW instead.",
                    ddl::quoted(&full)
                );
                Err(Diagnostic::new(Code::SessionState, message).at(name.span))
            }
        }
    }

    async fn show_create_view(&self, name: &Name) -> Result<ResultTable, Diagnostic> {
        let missing = |full: &ObjectName| {
            format!(
                "Could not execute SHOW CREATE VIEW. View with identifier {} does not exist.",
                ddl::quoted(full)
            )
        };
        match self.object(name, missing).await? {
            (full, CatalogObject::View(view)) => {
                let is_temporary = self.catalogs.is_temporary(&full);
                ResultTable::text(ddl::create_view(&full, &view, is_temporary))
            }
            (full, CatalogObject::Table(_)) => {
                let message = format!(
                    "SHOW CREATE VIEW is only supported for views, but {} is a table. Please use SHOW \
                     CREATE TABLE instead.",
                    ddl::quoted(&full)
                );
                Err(Diagnostic::new(Code::SessionState, message).at(name.span))
            }
        }
    }

    fn show_create_catalog(&self, name: &Name) -> Result<ResultTable, Diagnostic> {
        let written = name.parts.join(".");
        let catalog = self.catalogs.catalog(&written).map_err(|error| error.at(name.span))?;
        ResultTable::text(ddl::create_catalog(&written, catalog.options()))
    }

    /// `DESCRIBE` and `SHOW COLUMNS`.
    pub(super) async fn describe(
        &self,
        name: &Name,
        pattern: Option<&Pattern>,
    ) -> Result<ResultTable, Diagnostic> {
        let missing = |full: &ObjectName| {
            format!("Tables or views with the identifier '{full}' doesn't exist.")
        };
        let (full, object) = self.object(name, missing).await?;
        let mut rows = match object {
            CatalogObject::Table(table) => self.table_rows(&full, &table).await,
            CatalogObject::View(_) => self.view_rows(&full).await,
        }
        .map_err(|error| error.at(name.span))?;
        if let Some(pattern) = pattern {
            rows.retain(|row| matches(pattern, &row.name));
        }
        column_table(rows)
    }

    async fn table_rows(
        &self,
        name: &ObjectName,
        table: &CatalogTable,
    ) -> Result<Vec<ColumnRow>, Diagnostic> {
        let computed = self.computed_columns(name, table).await?;
        let key = table.primary_key.as_ref().map(|key| key.columns.clone()).unwrap_or_default();
        let shown_key = format!("PRI({})", key.join(", "));
        let mut rows = Vec::with_capacity(table.columns.len());
        for column in &table.columns {
            let (data_type, nullable, extras) = match &column.kind {
                ColumnKind::Physical { data_type, nullable } => {
                    (data_type.to_string(), *nullable, None)
                }
                ColumnKind::Metadata { data_type, nullable, key, is_virtual } => (
                    data_type.to_string(),
                    *nullable,
                    Some(ddl::metadata_clause(key.as_deref(), *is_virtual)),
                ),
                ColumnKind::Computed { expression } => {
                    let planned = computed.iter().find(|planned| planned.name == column.name);
                    let (data_type, nullable) = planned.map_or_else(
                        || (String::new(), true),
                        |planned| (planned.data_type.to_string(), planned.nullable),
                    );
                    (data_type, nullable, Some(format!("AS {expression}")))
                }
            };
            let is_key = key.contains(&column.name);
            let watermark = table.watermark.as_ref().filter(|found| found.column == column.name);
            let rowtime = if watermark.is_some() { " *ROWTIME*" } else { "" };
            rows.push(ColumnRow {
                name: column.name.clone(),
                data_type: format!("{data_type}{rowtime}"),
                nullable: nullable && !is_key,
                key: is_key.then(|| shown_key.clone()),
                extras,
                watermark: watermark.map(|found| found.expression.clone()),
                comment: column.comment.clone(),
            });
        }
        Ok(rows)
    }

    /// The types of computed columns, which only planning knows.
    async fn computed_columns(
        &self,
        name: &ObjectName,
        table: &CatalogTable,
    ) -> Result<Vec<Column>, Diagnostic> {
        if !table.columns.iter().any(|c| matches!(c.kind, ColumnKind::Computed { .. })) {
            return Ok(Vec::new());
        }
        let context = self.planner_context();
        let parts = vec![name.catalog.clone(), name.database.clone(), name.object.clone()];
        let name = Name { parts, span: Span { start: 0, end: 0 } };
        let reference = TableReference { name, options: Options::default(), time_travel: None };
        match context.resolve(&reference).await? {
            Resolved::Table(table) => planner::computed_columns(&context, &table),
            Resolved::View(_) => Ok(Vec::new()),
        }
        .map_err(|error| Diagnostic { span: None, ..error })
    }

    async fn view_rows(&self, name: &ObjectName) -> Result<Vec<ColumnRow>, Diagnostic> {
        let columns = self.columns_of(name).await?;
        Ok(columns
            .into_iter()
            .map(|column| ColumnRow {
                name: column.name,
                data_type: column.data_type.to_string(),
                nullable: column.nullable,
                key: None,
                extras: None,
                watermark: None,
                comment: None,
            })
            .collect())
    }

    async fn columns_of(&self, name: &ObjectName) -> Result<Vec<Column>, Diagnostic> {
        let query = crate::parser::parse_query(&format!("SELECT * FROM {}", ddl::quoted(name)))?;
        planner::query_columns(&self.planner_context(), &query)
            .await
            // Its places are those of a text that the user never saw.
            .map_err(|error| Diagnostic { span: None, ..error })
    }
}

/// Built-in functions, in lower case as Flink lists them.
fn function_names() -> Vec<String> {
    let mut names: Vec<String> =
        planner::function_names().into_iter().map(|name| name.to_lowercase()).collect();
    names.sort_unstable();
    names
}

fn names(
    column: &str,
    mut names: Vec<String>,
    pattern: Option<&Pattern>,
) -> Result<ResultTable, Diagnostic> {
    if let Some(pattern) = pattern {
        names.retain(|name| matches(pattern, name));
    }
    ResultTable::names(column, names)
}

fn modules(full: bool) -> Result<ResultTable, Diagnostic> {
    let name = ResultTable::texts([Some("core".to_owned())]);
    let mut columns = vec![("module name", LogicalType::String, name)];
    if full {
        columns.push(("used", LogicalType::Boolean, ResultTable::booleans([true])));
    }
    ResultTable::new(columns, Layout::Table)
}

fn column_table(rows: Vec<ColumnRow>) -> Result<ResultTable, Diagnostic> {
    let has_comments = rows.iter().any(|row| row.comment.is_some());
    let text = |of: fn(&ColumnRow) -> Option<String>| ResultTable::texts(rows.iter().map(of));
    let mut columns = vec![
        ("name", LogicalType::String, text(|row| Some(row.name.clone()))),
        ("type", LogicalType::String, text(|row| Some(row.data_type.clone()))),
        ("null", LogicalType::Boolean, ResultTable::booleans(rows.iter().map(|row| row.nullable))),
        ("key", LogicalType::String, text(|row| row.key.clone())),
        ("extras", LogicalType::String, text(|row| row.extras.clone())),
        ("watermark", LogicalType::String, text(|row| row.watermark.clone())),
    ];
    if has_comments {
        columns.push(("comment", LogicalType::String, text(|row| row.comment.clone())));
    }
    ResultTable::new(columns, Layout::Table)
}

/// Whether a name fits `[NOT] LIKE`.
fn matches(pattern: &Pattern, name: &str) -> bool {
    let fold = |text: &str| {
        if pattern.case_insensitive { text.to_lowercase() } else { text.to_owned() }
    };
    let wanted: Vec<char> = fold(&pattern.text).chars().collect();
    let name: Vec<char> = fold(name).chars().collect();
    like(&wanted, &name) != pattern.negated
}

/// SQL's LIKE: after each `%` the rest is tried at each place; the last `%` decides.
fn like(pattern: &[char], name: &[char]) -> bool {
    let (mut at, mut place) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while place < name.len() {
        let step = match pattern.get(at) {
            Some('%') => {
                retry = Some((at + 1, place));
                at += 1;
                continue;
            }
            Some('_') => Some(1),
            Some('\\') if pattern.get(at + 1) == name.get(place) => Some(2),
            Some(c) if name.get(place) == Some(c) => Some(1),
            Some(_) | None => None,
        };
        match (step, retry) {
            (Some(step), _) => {
                at += step;
                place += 1;
            }
            (None, Some((after, from))) => {
                at = after;
                place = from + 1;
                retry = Some((after, from + 1));
            }
            (None, None) => return false,
        }
    }
    pattern.iter().skip(at).all(|c| *c == '%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_sql() {
        let check = |pattern: &str, name: &str| {
            let pattern: Vec<char> = pattern.chars().collect();
            like(&pattern, &name.chars().collect::<Vec<_>>())
        };
        for (pattern, name, expected) in [
            ("%", "", true),
            ("a%", "abc", true),
            ("%c", "abcc", true),
            ("a_c", "abc", true),
            ("a_c", "ac", false),
            ("%b%d%", "abcde", true),
            ("%b%x%", "abcde", false),
            (r"a\_b", "a_b", true),
            (r"a\_b", "axb", false),
            ("über%", "übergabe", true),
            ("abc", "ABC", false),
        ] {
            assert_eq!(check(pattern, name), expected, "{name} LIKE {pattern}");
        }
    }
}
