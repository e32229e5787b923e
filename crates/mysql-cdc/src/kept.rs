//! The rows of one server's tables that the job has committed.

use std::sync::Arc;

use shardlake_change::{ChangeBatch, TableId};
use shardlake_connector::{Error as ConnectorError, KeptRows, ReadRequest};

use crate::error::{Error, Result};
use crate::output::SERVER_NAME;
use crate::source::MysqlSource;

/// A way back to what was committed, in which rows are told by their table and server.
#[derive(Clone)]
pub(crate) struct Kept {
    rows: Arc<dyn KeptRows>,
    database_column: usize,
    table_column: usize,
    /// The columns of MySQL that are in the sink's equality key.
    key: Vec<String>,
    /// The column of the server and what it holds, if there are several servers.
    server: Option<(usize, String)>,
}

impl Kept {
    /// The way back for one server, if it is wanted.
    ///
    /// # Errors
    /// It is wanted, but the sink cannot tell which rows come from which table and server.
    pub(crate) fn new(
        source: &MysqlSource,
        request: &ReadRequest,
        server_name: &str,
    ) -> Result<Option<Self>> {
        if !source.options.reads_again {
            return Ok(None);
        }
        let column = |key: &str| {
            let mut columns = request.columns.iter().copied();
            columns.find(|column| source.definition.metadata_key(*column) == Some(key))
        };
        let definition = &source.definition;
        let physical = |index: &&usize| definition.metadata_key(**index).is_none();
        let name = |index: &usize| Some(definition.schema.columns.get(*index)?.name.clone());
        let key_columns = request.key_columns.iter().flatten();
        let key: Vec<String> = key_columns.filter(physical).filter_map(name).collect();
        let has_several = source.options.servers.len() > 1;
        let server = column(SERVER_NAME).map(|column| (column, server_name.to_owned()));
        match (&request.kept, column("database_name"), column("table_name")) {
            (Some(rows), Some(database_column), Some(table_column))
                if (server.is_some() || !has_several) && !key.is_empty() =>
            {
                let rows = Arc::clone(rows);
                Ok(Some(Self { rows, database_column, table_column, key, server }))
            }
            _ => Err(Error::job(format!(
                "'scan.purged-binlog' = 'resnapshot' needs a sink that tells which rows come from which \
                 table: select database_name, table_name{} and all other columns of table {} that the query uses \
                 into one Iceberg table, unchanged and without WHERE or UNION, whose primary key is \
                 made of them; or set it to 'fail'",
                if has_several { ", server_name" } else { "" },
                source.definition.name
            ))),
        }
    }

    /// The columns of MySQL that are in the sink's equality key.
    pub(crate) fn key(&self) -> &[String] {
        &self.key
    }

    /// Sends the committed rows of a table.
    pub(crate) fn read(
        &self,
        table: &TableId,
        receive: &mut (dyn FnMut(ChangeBatch) -> bool + Send),
    ) -> std::result::Result<(), ConnectorError> {
        let mut equal = vec![
            (self.database_column, table.database.clone()),
            (self.table_column, table.table.clone()),
        ];
        equal.extend(self.server.clone());
        self.rows.read(&equal, receive)
    }
}
