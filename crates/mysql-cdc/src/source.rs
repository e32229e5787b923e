//! The connector `mysql-cdc`: from a table's definition to a source that can be started.

use std::sync::Arc;

use serde_json::Value;
use shardlake_connector::{
    ChangelogMode, ComparableSource, Error, MetadataColumn, OptionSpec, ReadRequest, RunningSource,
    Source, SourceFactory, TableDefinition,
};

use crate::chunk_key;
use crate::compare::Comparer;
use crate::matching::TableMatcher;
use crate::options::{OPTIONS, SourceOptions, StartupMode};
use crate::output::{OutputShape, metadata_columns};
use crate::{position, start};

/// Makes sources that read MySQL tables: their existing rows, then their binlog.
#[derive(Clone, Copy, Debug, Default)]
pub struct MysqlCdcFactory;

impl SourceFactory for MysqlCdcFactory {
    fn connector(&self) -> &'static str {
        "mysql-cdc"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn metadata_columns(&self) -> Vec<MetadataColumn> {
        metadata_columns()
    }

    fn create(&self, table: &TableDefinition) -> Result<Arc<dyn Source>, Error> {
        let options = SourceOptions::parse(&table.options)?;
        let matcher = TableMatcher::new(&options.database_name, &options.table_name)?;
        if table.schema.primary_key.is_empty() && table.options.get(chunk_key::OPTION).is_none() {
            return Err(Error::job(format!(
                "'{}' is required for table without primary key when \
                 'scan.incremental.snapshot.enabled' enabled. Give that option, or declare PRIMARY KEY (…) \
                 NOT ENFORCED in table {}.",
                chunk_key::OPTION,
                table.name
            )));
        }
        let all_columns: Vec<usize> = (0..table.schema.columns.len()).collect();
        OutputShape::new(table, &all_columns, options.append_only)?;
        Ok(Arc::new(MysqlSource { definition: table.clone(), options, matcher }))
    }

    fn comparable(
        &self,
        table: &TableDefinition,
    ) -> Result<Option<Box<dyn ComparableSource>>, Error> {
        let options = SourceOptions::parse(&table.options)?;
        let matcher = TableMatcher::new(&options.database_name, &options.table_name)?;
        Ok(Some(Box::new(Comparer::connect(table, &options, &matcher)?)))
    }

    fn has_reached(&self, positions: &[&Value], target: &str) -> Result<Option<bool>, Error> {
        Ok(position::have_reached(positions, target)?)
    }
}

/// MySQL tables that match the expressions of a definition.
pub(crate) struct MysqlSource {
    pub(crate) definition: TableDefinition,
    pub(crate) options: SourceOptions,
    pub(crate) matcher: TableMatcher,
}

impl Source for MysqlSource {
    fn changelog_mode(&self) -> ChangelogMode {
        if self.options.append_only || self.is_bounded() {
            ChangelogMode::InsertOnly
        } else {
            ChangelogMode::All
        }
    }

    fn is_bounded(&self) -> bool {
        self.options.startup == StartupMode::Snapshot
    }

    fn follows_columns(&self) -> bool {
        true
    }

    fn fingerprint(&self) -> String {
        // Tables may be added where that is wished.
        if self.options.newly_added {
            return "mysql-cdc scan.newly-added-table.enabled".to_owned();
        }
        // Servers may be added; those that a stored position knows must stay, see `start`.
        format!(
            "mysql-cdc database-name={} table-name={}",
            self.options.database_name, self.options.table_name
        )
    }

    fn start(&self, request: &ReadRequest) -> Result<RunningSource, Error> {
        start::start(self, request)
    }
}

#[cfg(test)]
mod tests {
    use shardlake_change::{Column, LogicalType, TableSchema};
    use shardlake_connector::{ObjectName, Options};

    use super::*;

    fn definition(extra: &[(&str, &str)], key: &[&str]) -> TableDefinition {
        let base = [
            ("hostname", "db"),
            ("username", "u"),
            ("password", "secret"),
            ("database-name", "user_db_[0-9]+"),
            ("table-name", "user_table_[0-9]+"),
        ];
        let options: Options = base
            .iter()
            .chain(extra)
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        TableDefinition {
            name: ObjectName {
                catalog: "default_catalog".into(),
                database: "default_database".into(),
                object: "users".into(),
            },
            schema: TableSchema {
                columns: vec![Column::new("id", LogicalType::BigInt).not_null()],
                primary_key: key.iter().map(|name| (*name).to_owned()).collect(),
            },
            metadata: vec![None],
            options,
            partitioned_by: Vec::new(),
            comment: None,
        }
    }

    fn create(extra: &[(&str, &str)], key: &[&str]) -> Result<Arc<dyn Source>, String> {
        MysqlCdcFactory.create(&definition(extra, key)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_source_is_named_by_what_it_reads() {
        let source = create(&[], &["id"]).unwrap();
        insta::assert_snapshot!(source.fingerprint(), @"mysql-cdc database-name=user_db_[0-9]+ table-name=user_table_[0-9]+");
        assert_eq!(source.changelog_mode(), ChangelogMode::All);
        assert!(!source.is_bounded());
    }

    #[test]
    fn startup_and_append_mode_decide_what_is_sent() {
        let bounded = create(&[("scan.startup.mode", "snapshot")], &["id"]).unwrap();
        assert!(bounded.is_bounded());
        let append = [("scan.read-changelog-as-append-only.enabled", "true")];
        let append = create(&append, &["id"]).unwrap();
        assert_eq!(append.changelog_mode(), ChangelogMode::InsertOnly);
    }

    #[test]
    fn a_definition_without_key_is_refused() {
        let error = create(&[], &[]).err().unwrap();
        assert!(error.starts_with("'scan.incremental.snapshot.chunk.key-column' is required for table without primary key when 'scan.incremental.snapshot.enabled' enabled."), "{error}");
    }
}
