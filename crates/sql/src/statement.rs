//! The statements of Flink SQL, parsed.
//!
//! Queries stay in the form of `sqlparser`; what Flink adds to a table name in a query (hints, time
//! travel) is taken out of the text first and kept in [`Query::scans`].

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::ast;
use shardlake_connector::Options;
use shardlake_iceberg_table::{ColumnPlace, ReferenceChange};

use crate::catalog::{ColumnDefinition, PrimaryKey, Watermark};
use crate::diagnostic::Span;

/// One statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// `SET;`: lists the configuration.
    SetList,
    /// `SET 'key' = 'value'`.
    Set {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// `RESET;` or `RESET 'key'`.
    Reset(Option<String>),
    /// `CREATE TABLE`.
    CreateTable(CreateTable),
    /// `CREATE VIEW`.
    CreateView(CreateView),
    /// `CREATE CATALOG`.
    CreateCatalog(CreateCatalog),
    /// `CREATE DATABASE`.
    CreateDatabase(CreateDatabase),
    /// `ALTER TABLE`.
    AlterTable(AlterTable),
    /// `ALTER VIEW … RENAME TO`.
    RenameView {
        /// The view.
        name: Name,
        /// Its new name.
        to: Name,
    },
    /// `DROP …`.
    Drop(Drop),
    /// `USE CATALOG`.
    UseCatalog(Name),
    /// `USE`.
    UseDatabase(Name),
    /// `SHOW …`.
    Show(Show),
    /// `DESCRIBE`.
    Describe(Name),
    /// `DESCRIBE JOB`.
    DescribeJob(String),
    /// `SHOW SPLITS FOR JOB`.
    ShowSplits(String),
    /// `EXPLAIN`.
    Explain(Explain),
    /// `INSERT INTO`, also as `EXECUTE INSERT INTO`.
    Insert(Insert),
    /// `DELETE FROM` or `UPDATE`.
    ChangeRows(RowChange),
    /// `VERIFY TABLE`.
    Verify(Verify),
    /// `EXECUTE STATEMENT SET BEGIN … END`.
    StatementSet(Vec<Insert>),
    /// `BEGIN STATEMENT SET`.
    BeginStatementSet,
    /// `END`.
    EndStatementSet,
    /// `SELECT`, `WITH`, `VALUES`.
    Query(Query),
    /// `ALTER TABLE … COMPACT` and the like, also as `CALL`.
    Maintain(Maintain),
    /// `STOP JOB`.
    StopJob(StopJob),
    /// `HELP`.
    Help,
    /// `CLEAR`.
    Clear,
    /// `QUIT` or `EXIT`.
    Quit,
}

/// A name of one to three parts, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Its parts without quotes.
    pub parts: Vec<String>,
    /// Where it stands.
    pub span: Span,
}

/// `CREATE TABLE`.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateTable {
    /// The table.
    pub name: Name,
    /// Whether it hides a permanent table of the same name.
    pub temporary: bool,
    /// Whether an existing table is left as it is.
    pub if_not_exists: bool,
    /// The columns.
    pub columns: Vec<ColumnDefinition>,
    /// The primary key.
    pub primary_key: Option<PrimaryKey>,
    /// `PARTITIONED BY`.
    pub partitioned_by: Vec<String>,
    /// `COMMENT`.
    pub comment: Option<String>,
    /// `WITH`.
    pub options: Options,
    /// `WATERMARK FOR`.
    pub watermark: Option<Watermark>,
    /// `LIKE`.
    pub like: Option<Like>,
    /// `AS SELECT`.
    pub query: Option<Query>,
}

/// `LIKE base (…)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Like {
    /// The table whose definition is taken.
    pub base: Name,
    /// How each part of it is taken.
    pub rules: Vec<(LikeFeature, LikeRule)>,
}

/// A part of a definition that `LIKE` can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LikeFeature {
    /// All parts that have no rule of their own.
    All,
    /// The primary key.
    Constraints,
    /// Computed columns.
    Generated,
    /// Metadata columns.
    Metadata,
    /// Options of `WITH`.
    Options,
    /// `PARTITIONED BY`.
    Partitions,
    /// Watermarks.
    Watermarks,
}

/// How `LIKE` takes a part of a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LikeRule {
    /// It is taken; a duplicate is an error.
    Including,
    /// It is not taken.
    Excluding,
    /// It is taken; the new table's own replaces a duplicate.
    Overwriting,
}

/// `CREATE VIEW`.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateView {
    /// The view.
    pub name: Name,
    /// Whether it hides a permanent table of the same name.
    pub temporary: bool,
    /// Whether an existing view is left as it is.
    pub if_not_exists: bool,
    /// The names of its columns; empty: those of the query.
    pub columns: Vec<String>,
    /// `COMMENT`.
    pub comment: Option<String>,
    /// What it selects.
    pub query: Query,
}

/// `CREATE CATALOG`.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateCatalog {
    /// The catalog.
    pub name: Name,
    /// Whether an existing catalog is left as it is.
    pub if_not_exists: bool,
    /// `COMMENT`.
    pub comment: Option<String>,
    /// `WITH`.
    pub options: Options,
}

/// `CREATE DATABASE`.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateDatabase {
    /// The database: one part, or a catalog and it.
    pub name: Name,
    /// Whether an existing database is left as it is.
    pub if_not_exists: bool,
    /// `COMMENT`.
    pub comment: Option<String>,
    /// `WITH`.
    pub options: Options,
}

/// `ALTER TABLE`.
#[derive(Clone, Debug, PartialEq)]
pub struct AlterTable {
    /// The table.
    pub name: Name,
    /// Whether a missing table is no error.
    pub if_exists: bool,
    /// The change.
    pub action: AlterAction,
}

/// What `ALTER TABLE` changes.
#[derive(Clone, Debug, PartialEq)]
pub enum AlterAction {
    /// `SET ('key' = 'value', …)`.
    Set(Options),
    /// `RESET ('key', …)`.
    Reset(Vec<String>),
    /// `RENAME TO name`.
    Rename(Name),
    /// `ADD`, `MODIFY`, `DROP` and `RENAME` of columns, key and watermark.
    Schema(Vec<SchemaChange>),
    /// `CREATE`, `REPLACE` and `DROP` of a branch or tag.
    Reference(ReferenceChange),
}

/// A change of what a table consists of.
#[derive(Clone, Debug, PartialEq)]
pub enum SchemaChange {
    /// `ADD column [FIRST | AFTER other]`.
    AddColumn(ColumnDefinition, Option<ColumnPlace>),
    /// `MODIFY column [FIRST | AFTER other]`.
    ModifyColumn(ColumnDefinition, Option<ColumnPlace>),
    /// `RENAME column TO name`.
    RenameColumn {
        /// The column.
        from: String,
        /// Its new name.
        to: String,
    },
    /// `DROP column`.
    DropColumn(String),
    /// `ADD PRIMARY KEY`.
    AddPrimaryKey(PrimaryKey),
    /// `MODIFY PRIMARY KEY`.
    ModifyPrimaryKey(PrimaryKey),
    /// `DROP PRIMARY KEY`, or `DROP CONSTRAINT name`.
    DropPrimaryKey(Option<String>),
    /// `ADD WATERMARK`.
    AddWatermark(Watermark),
    /// `MODIFY WATERMARK`.
    ModifyWatermark(Watermark),
    /// `DROP WATERMARK`.
    DropWatermark,
}

/// Care for a table of the lake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maintain {
    /// The table.
    pub name: Name,
    /// What is done.
    pub action: MaintainAction,
}

/// What is done for a table of the lake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MaintainAction {
    /// `COMPACT [ALL]`.
    Compact {
        /// Whether files that are as they should be are rewritten too.
        everything: bool,
    },
    /// `EXPIRE SNAPSHOTS [OLDER THAN 'time'] [RETAIN LAST n]`.
    ExpireSnapshots {
        /// Snapshots from before this time expire.
        older_than: Option<String>,
        /// How many are kept at least.
        retain_last: Option<u64>,
    },
    /// `REMOVE ORPHAN FILES [OLDER THAN 'time'] [DRY RUN]`.
    RemoveOrphanFiles {
        /// Files from before this time are removed.
        older_than: Option<String>,
        /// Whether they are listed only.
        dry_run: bool,
    },
    /// `REWRITE MANIFESTS`.
    RewriteManifests,
}

/// What `DROP` removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// A table.
    Table,
    /// A view.
    View,
    /// A database.
    Database,
    /// A catalog.
    Catalog,
}

/// `DROP`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drop {
    /// What kind of object it is.
    pub kind: ObjectKind,
    /// The object.
    pub name: Name,
    /// Whether only a temporary object is meant.
    pub temporary: bool,
    /// Whether a missing object is no error.
    pub if_exists: bool,
    /// Whether a database goes with all that is in it.
    pub cascade: bool,
}

/// `SHOW`.
#[derive(Clone, Debug, PartialEq)]
pub enum Show {
    /// `SHOW CATALOGS`.
    Catalogs(Option<Pattern>),
    /// `SHOW DATABASES [FROM catalog]`.
    Databases {
        /// The catalog; the current one if none.
        from: Option<Name>,
        /// Which are wanted.
        pattern: Option<Pattern>,
    },
    /// `SHOW TABLES [FROM database]`.
    Tables {
        /// The database; the current one if none.
        from: Option<Name>,
        /// Which are wanted.
        pattern: Option<Pattern>,
    },
    /// `SHOW VIEWS [FROM database]`.
    Views {
        /// The database; the current one if none.
        from: Option<Name>,
        /// Which are wanted.
        pattern: Option<Pattern>,
    },
    /// `SHOW COLUMNS FROM table`.
    Columns {
        /// The table or view.
        table: Name,
        /// Which are wanted.
        pattern: Option<Pattern>,
    },
    /// `SHOW [USER] FUNCTIONS`.
    Functions {
        /// Only those that a user created.
        user: bool,
        /// Which are wanted.
        pattern: Option<Pattern>,
    },
    /// `SHOW [FULL] MODULES`.
    Modules {
        /// With the column `used`.
        full: bool,
    },
    /// `SHOW JARS`.
    Jars,
    /// `SHOW JOBS`.
    Jobs,
    /// `SHOW CURRENT CATALOG`.
    CurrentCatalog,
    /// `SHOW CURRENT DATABASE`.
    CurrentDatabase,
    /// `SHOW CREATE TABLE`.
    CreateTable(Name),
    /// `SHOW CREATE VIEW`.
    CreateView(Name),
    /// `SHOW CREATE CATALOG`.
    CreateCatalog(Name),
}

/// `[NOT] LIKE 'pattern'` or `[NOT] ILIKE 'pattern'`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The pattern; `%` is any text, `_` is any character, `\` takes the next one as it is.
    pub text: String,
    /// Whether names that match are left out.
    pub negated: bool,
    /// Whether upper and lower case are the same.
    pub case_insensitive: bool,
}

/// `EXPLAIN`.
#[derive(Clone, Debug, PartialEq)]
pub struct Explain {
    /// What is asked for besides the plans.
    pub details: Vec<ExplainDetail>,
    /// What is explained.
    pub target: ExplainTarget,
}

/// A part of an explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExplainDetail {
    /// `CHANGELOG_MODE`.
    ChangelogMode,
    /// `ESTIMATED_COST`.
    EstimatedCost,
    /// `JSON_EXECUTION_PLAN`.
    JsonExecutionPlan,
    /// `PLAN_ADVICE`.
    PlanAdvice,
}

/// What can be explained.
#[derive(Clone, Debug, PartialEq)]
pub enum ExplainTarget {
    /// A query.
    Query(Query),
    /// One or more inserts that form one job.
    Inserts(Vec<Insert>),
}

/// `INSERT INTO`.
#[derive(Clone, Debug, PartialEq)]
pub struct Insert {
    /// The table that is written, with its hints.
    pub target: TableReference,
    /// The columns that the query fills; empty: all.
    pub columns: Vec<String>,
    /// What is written.
    pub query: Query,
}

/// `DELETE FROM` or `UPDATE`.
#[derive(Clone, Debug, PartialEq)]
pub struct RowChange {
    /// The table that is changed, with its hints.
    pub target: TableReference,
    /// What is done to its rows.
    pub kind: RowChangeKind,
    /// The text of the condition; none: all rows.
    pub condition: Option<String>,
}

/// What a statement does to rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowChangeKind {
    /// They are deleted.
    Delete,
    /// Columns get the values of expressions, given as text.
    Update(Vec<(String, String)>),
}

/// `VERIFY TABLE table AGAINST source [REPAIR]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Verify {
    /// The table of the lake.
    pub lake: TableReference,
    /// The table of the source.
    pub source: TableReference,
    /// Whether the lake is mended.
    pub repair: bool,
}

/// A table as a statement names it.
#[derive(Clone, Debug, PartialEq)]
pub struct TableReference {
    /// The name as written.
    pub name: Name,
    /// The options of `/*+ OPTIONS(…) */`.
    pub options: Options,
    /// `FOR SYSTEM_TIME AS OF` or `FOR SYSTEM_VERSION AS OF`.
    pub time_travel: Option<TimeTravel>,
}

/// Which state of a table is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimeTravel {
    /// The state at this time, `yyyy-MM-dd HH:mm:ss[.fraction]`, in the session's zone.
    Timestamp(String),
    /// The snapshot of this id.
    Snapshot(i64),
    /// The snapshot of this tag, or the newest of this branch.
    Reference(String),
    /// The first snapshot that holds all transactions of this GTID set.
    Gtid(String),
}

/// A query.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Its text as written, comments included.
    pub text: String,
    /// Where its text begins in the statement, in bytes.
    pub offset: usize,
    /// Its parsed form. Places in it count lines and columns of the whole statement.
    pub body: Box<ast::Query>,
    /// What a hint or time travel was attached to: generated table names in `body`, and what they
    /// stand for. Such a table has an alias in `body`, so its columns are found under the name that
    /// the user wrote.
    pub scans: BTreeMap<String, TableReference>,
}

impl Query {
    /// What a relation of `body` stands for. `None` if the name is not made of identifiers.
    #[must_use]
    pub fn reference(&self, relation: &ast::ObjectName) -> Option<TableReference> {
        let parts: Vec<String> = relation
            .0
            .iter()
            .map(|part| part.as_ident().map(|ident| ident.value.clone()))
            .collect::<Option<_>>()?;
        if let [single] = parts.as_slice()
            && let Some(reference) = self.scans.get(single)
        {
            return Some(reference.clone());
        }
        let name = Name { parts, span: Span { start: self.offset, end: self.offset } };
        Some(TableReference { name, options: Options::default(), time_travel: None })
    }
}

/// `STOP JOB`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopJob {
    /// The job's id.
    pub id: String,
    /// `WITH SAVEPOINT`.
    pub savepoint: bool,
    /// `WITH DRAIN`.
    pub drain: bool,
}
