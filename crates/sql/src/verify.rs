//! `VERIFY TABLE`: compares a table of the lake with the source from which it is written.
//!
//! Both sides are never still, so a difference counts only if it cannot be one of time. A key is
//! suspected if its row differs between two states that need not be the same. It is condemned if the
//! source's row was the same before and after the lake was read, at a snapshot that holds everything the
//! source had executed in between. Keys that keep changing are looked at again, and reported as
//! undecided if they never stand still.

mod canonical;
mod lake;
mod repair;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shardlake_change::{LogicalType, TableSchema};
use shardlake_connector::{ComparableSource, ComparedColumns, Error, KeyedHash, RowText};
use shardlake_iceberg_table::Table;

use self::lake::LakeSide;
use crate::catalog::{PlannerContext, Resolved, ResolvedTable};
use crate::diagnostic::{Code, Diagnostic};
use crate::session::{Layout, ResultTable};
use crate::statement::{TableReference, Verify};

/// How many buckets the keys are spread over.
const BUCKETS: u32 = 4_096;
/// How often keys that change are looked at again.
const LOOKS: u32 = 5;
/// How many keys are looked at and named at most.
const KEYS_MAX: usize = 10_000;
/// How long to wait for the lake to reach the source, unless the configuration says otherwise.
const PATIENCE_MS: u64 = 60_000;
/// How often the lake is looked at meanwhile.
const POLL: Duration = Duration::from_millis(100);
/// The configuration key of the patience.
const PATIENCE_KEY: &str = "shardlake.verify.timeout";

/// What is wrong with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The source has the row, the lake has not.
    Missing,
    /// The lake has the row, the source has not.
    Extra,
    /// Both have it, with other values.
    Changed,
    /// Its row changed each time it was looked at.
    Undecided,
}

impl Difference {
    /// For people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing in the lake",
            Self::Extra => "not in the source",
            Self::Changed => "different",
            Self::Undecided => "undecided",
        }
    }
}

/// What came of a verification.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The names of the key's columns.
    pub key_columns: Vec<String>,
    /// The keys that differ, as text, and how.
    pub differences: Vec<(RowText, Difference)>,
    /// Rows of the source that were compared.
    pub row_count: u64,
    /// Columns that were not compared, by name.
    pub skipped: Vec<String>,
    /// Whether the differences were mended.
    pub repaired: bool,
    /// Whether there are more differences than are listed.
    pub more: bool,
}

impl Verified {
    /// Whether both sides are the same, or have been made so.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.differences.is_empty() || self.repaired
    }

    /// The keys that differ, one a row, and a last row that sums up.
    ///
    /// # Errors
    /// Never in practice.
    pub fn table(&self) -> Result<ResultTable, Diagnostic> {
        let mut results: Vec<Option<String>> = Vec::new();
        let mut keys: Vec<Option<String>> = Vec::new();
        for (key, difference) in &self.differences {
            let columns = self.key_columns.iter().zip(key);
            let columns = columns
                .map(|(name, value)| format!("{name}={}", value.as_deref().unwrap_or("NULL")));
            results.push(Some(difference.as_str().to_owned()));
            keys.push(Some(columns.collect::<Vec<_>>().join(", ")));
        }
        let count = self.differences.len();
        let mut summary = match (count, self.repaired) {
            (0, _) => format!("{} rows are the same", self.row_count),
            (_, false) => format!("{} rows, {count} keys differ", self.row_count),
            (_, true) => {
                format!("{} rows, {count} keys differed and were repaired", self.row_count)
            }
        };
        if self.more {
            summary.push_str("; there are more than are listed");
        }
        if !self.skipped.is_empty() {
            summary.push_str(&format!("; not compared: {}", self.skipped.join(", ")));
        }
        results.push(Some("compared".to_owned()));
        keys.push(Some(summary));
        ResultTable::new(
            vec![
                ("result", LogicalType::String, ResultTable::texts(results)),
                ("key", LogicalType::String, ResultTable::texts(keys)),
            ],
            Layout::Table,
        )
    }
}

/// Compares, and mends if the statement says so.
///
/// # Errors
/// The tables do not fit, one of them cannot be read, or the lake does not reach the source.
pub async fn verify(context: &PlannerContext, statement: &Verify) -> Result<Verified, Diagnostic> {
    let lake = resolve(context, &statement.lake).await?;
    let source = resolve(context, &statement.source).await?;
    let span = statement.lake.name.span;
    if lake.connector.as_deref() != Some("iceberg") || lake.metadata_table.is_some() {
        let message = format!("Table '{}' is no Iceberg table.", lake.name);
        return Err(Diagnostic::new(Code::SessionState, message).at(span));
    }
    let (columns, mut skipped) = columns(&lake, &source).map_err(|error| error.at(span))?;
    let mut comparison = Comparison::open(context, lake, &source, columns).await?;
    skipped.extend(comparison.incomparable.clone());
    let (row_count, suspects, more) = comparison.suspects().await?;
    let differences = comparison.decide(suspects).await?;
    let key_columns = comparison.side.key_names();
    let mut verified =
        Verified { key_columns, differences, row_count, skipped, repaired: false, more };
    if statement.repair && !verified.differences.is_empty() {
        repair::check(&verified)?;
        let keys = verified.differences.iter().map(|(key, _)| key.clone()).collect();
        comparison.repair(keys).await?;
        verified.repaired = true;
    }
    Ok(verified)
}

async fn resolve(
    context: &PlannerContext,
    reference: &TableReference,
) -> Result<ResolvedTable, Diagnostic> {
    match context.resolve(reference).await? {
        Resolved::Table(table) => Ok(*table),
        Resolved::View(view) => {
            let message = format!("'{}' is a view: only tables can be compared.", view.name);
            Err(Diagnostic::new(Code::SessionState, message).at(reference.name.span))
        }
    }
}

/// The columns that both have, by name, in the types of the lake; and those that only the lake has.
fn columns(
    lake: &ResolvedTable,
    source: &ResolvedTable,
) -> Result<(ComparedColumns, Vec<String>), Diagnostic> {
    let declared = &lake.definition.schema;
    if declared.primary_key.is_empty() {
        let message =
            format!("Table '{}' has no primary key: rows cannot be told apart.", lake.name);
        return Err(Diagnostic::table_definition(message));
    }
    let mut schema = TableSchema { columns: Vec::new(), primary_key: declared.primary_key.clone() };
    let mut skipped = Vec::new();
    for column in &declared.columns {
        if source.definition.schema.index_of(&column.name).is_some() {
            schema.columns.push(column.clone());
        } else {
            skipped.push(column.name.clone());
        }
    }
    if let Some(name) = declared.primary_key.iter().find(|name| schema.index_of(name).is_none()) {
        let message = format!(
            "Column '{name}' of the primary key of table '{}' is not in table '{}'.",
            lake.name, source.name
        );
        return Err(Diagnostic::table_definition(message)
            .with_hint("Columns are compared by name: the lake must hold the source's key."));
    }
    let key = schema.key_indices();
    Ok((ComparedColumns { schema, key, bucket_count: BUCKETS }, skipped))
}

/// Both sides.
struct Comparison<'a> {
    context: &'a PlannerContext,
    side: LakeSide,
    source: Option<Box<dyn ComparableSource>>,
    incomparable: Vec<String>,
    patience: Duration,
}

type Suspects = BTreeSet<RowText>;

impl<'a> Comparison<'a> {
    async fn open(
        context: &'a PlannerContext,
        lake: ResolvedTable,
        source: &ResolvedTable,
        mut columns: ComparedColumns,
    ) -> Result<Self, Diagnostic> {
        let factory = context.connectors.source(&source.name, source.connector.as_deref())?;
        let options = source.definition.options.resolved();
        let mut definition = source.definition.clone();
        definition.options = options.map_err(|error| Diagnostic::connector(&error))?;
        let asked = columns.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let Some(mut source) = factory.comparable(&definition)? else { return Ok(None) };
            source.prepare(&asked)?;
            Ok::<_, Error>(Some(source))
        });
        let opened = opened.await.map_err(|error| Diagnostic::internal(error.to_string()))?;
        let Some(opened) = opened.map_err(|error| Diagnostic::connector(&error))? else {
            let what = format!(
                "VERIFY against connector '{}'",
                source.connector.as_deref().unwrap_or_default()
            );
            return Err(Diagnostic::unsupported(&what)
                .with_hint("The source must be a table of connector 'mysql-cdc'."));
        };
        let incomparable = opened.incomparable();
        columns.schema.columns.retain(|column| !incomparable.contains(&column.name));
        columns.key = columns.schema.key_indices();
        let patience = context.configuration.get(PATIENCE_KEY);
        let patience = patience.as_deref().and_then(shardlake_connector::parse_duration_ms);
        Ok(Self {
            context,
            side: LakeSide::new(lake, columns)?,
            source: Some(opened),
            incomparable,
            patience: Duration::from_millis(patience.unwrap_or(PATIENCE_MS)),
        })
    }

    /// Asks the source, on a thread that may block.
    async fn ask<T: Send + 'static>(
        &mut self,
        question: impl FnOnce(&mut dyn ComparableSource) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Diagnostic> {
        let Some(mut source) = self.source.take() else {
            return Err(Diagnostic::internal("the source is gone"));
        };
        let asked = tokio::task::spawn_blocking(move || {
            let answer = question(source.as_mut());
            (source, answer)
        });
        let (source, answer) =
            asked.await.map_err(|error| Diagnostic::internal(error.to_string()))?;
        self.source = Some(source);
        answer.map_err(|error| Diagnostic::connector(&error))
    }

    /// The lake at a snapshot that holds everything that the source has executed by now.
    async fn caught_up(&mut self) -> Result<Table, Diagnostic> {
        let executed = self.ask(|source| source.executed()).await?;
        let started = Instant::now();
        loop {
            let table = self.side.load().await?;
            match crate::planner::as_of_gtid(self.context, &table, &executed) {
                Ok(_) => return Ok(table),
                Err(error) if started.elapsed() >= self.patience => {
                    return Err(error.with_detail(format!(
                        "The lake did not reach the source within {} s. Its job must be running, or \
                         have read everything; raise '{PATIENCE_KEY}', or lower \
                         'shardlake.position-commit-interval' of the table if only other tables of the \
                         server change.",
                        self.patience.as_secs()
                    )));
                }
                Err(error) if error.code != Code::ObjectNotFound => return Err(error),
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// How many rows the source has, and the keys whose rows may differ.
    async fn suspects(&mut self) -> Result<(u64, Suspects, bool), Diagnostic> {
        let table = self.caught_up().await?;
        let of_source = self.ask(|source| source.sums()).await?;
        let of_lake = self.side.sums(&table).await?;
        let row_count = of_source.values().map(|sum| sum.row_count).sum();
        let all: BTreeSet<u32> = of_source.keys().chain(of_lake.keys()).copied().collect();
        let buckets: Vec<u32> = all
            .into_iter()
            .filter(|bucket| {
                let sum = |sums: &BTreeMap<u32, _>| sums.get(bucket).copied().unwrap_or_default();
                sum(&of_source) != sum(&of_lake)
            })
            .collect();
        if buckets.is_empty() {
            return Ok((row_count, Suspects::new(), false));
        }
        let wanted = buckets.clone();
        let of_source = self.ask(move |source| source.keys(&wanted)).await?;
        let of_lake = self.side.keys(&table, &buckets).await?;
        let mut suspects: Vec<RowText> = differing(of_source, of_lake);
        let more = suspects.len() > KEYS_MAX;
        suspects.truncate(KEYS_MAX);
        Ok((row_count, suspects.into_iter().collect(), more))
    }

    /// The suspected keys whose rows really differ.
    async fn decide(
        &mut self,
        mut suspects: Suspects,
    ) -> Result<Vec<(RowText, Difference)>, Diagnostic> {
        let mut decided = BTreeMap::new();
        for _ in 0..LOOKS {
            if suspects.is_empty() {
                break;
            }
            let before = self.source_rows(&suspects).await?;
            let table = self.caught_up().await?;
            let of_lake = self.side.rows(&table, &suspects).await?;
            let after = self.source_rows(&suspects).await?;
            let mut moving = Suspects::new();
            for key in suspects {
                let rows = |side: &BTreeMap<RowText, Vec<RowText>>| {
                    side.get(&key).cloned().unwrap_or_default()
                };
                let (source, lake) = (rows(&after), rows(&of_lake));
                if rows(&before) != source {
                    moving.insert(key);
                    continue;
                }
                let difference = match (source.is_empty(), lake.is_empty()) {
                    _ if source == lake => continue,
                    (false, true) => Difference::Missing,
                    (true, false) => Difference::Extra,
                    (true, true) | (false, false) => Difference::Changed,
                };
                decided.insert(key, difference);
            }
            suspects = moving;
        }
        decided.extend(suspects.into_iter().map(|key| (key, Difference::Undecided)));
        Ok(decided.into_iter().collect())
    }

    /// The rows of the source that have these keys.
    async fn source_rows(
        &mut self,
        keys: &Suspects,
    ) -> Result<BTreeMap<RowText, Vec<RowText>>, Diagnostic> {
        let asked: Vec<RowText> = keys.iter().cloned().collect();
        let rows = self.ask(move |source| source.rows(&asked)).await?;
        Ok(self.side.by_key(rows, keys))
    }
}

/// The keys whose rows are not the same on both sides.
fn differing(source: Vec<KeyedHash>, lake: Vec<KeyedHash>) -> Vec<RowText> {
    let mut hashes: BTreeMap<RowText, (Vec<u128>, Vec<u128>)> = BTreeMap::new();
    for row in source {
        hashes.entry(row.key).or_default().0.push(row.hash);
    }
    for row in lake {
        hashes.entry(row.key).or_default().1.push(row.hash);
    }
    hashes
        .into_iter()
        .filter_map(|(key, (mut source, mut lake))| {
            source.sort_unstable();
            lake.sort_unstable();
            (source != lake).then_some(key)
        })
        .collect()
}

type SharedSession = Arc<crate::batch::BatchSession>;
