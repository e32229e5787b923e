//! The way back: the rows that a sink has, in the shape in which a source sent them.

use std::fmt;
use std::sync::Arc;

use shardlake_change::ChangeBatch;
use shardlake_connector::{Error, KeptRequest, KeptRows, RowReceiver, Sink};
use shardlake_sql::plan::KeptColumns;
use tokio::runtime::Handle;

/// The committed rows of one sink for one source.
pub(crate) struct SinkRows {
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) kept: KeptColumns,
    /// The columns that the source sends, as indices into its definition.
    pub(crate) columns: Vec<usize>,
    pub(crate) runtime: Handle,
}

impl fmt::Debug for SinkRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkRows").field("kept", &self.kept).finish_non_exhaustive()
    }
}

impl KeptRows for SinkRows {
    fn read(&self, equal: &[(usize, String)], receive: &mut RowReceiver<'_>) -> Result<(), Error> {
        let in_sink = |column: &usize| {
            let at = self.columns.iter().position(|known| known == column);
            at.and_then(|at| self.kept.columns.get(at).copied())
                .ok_or_else(|| Error::bug("a column of the source is not read"))
        };
        let equal = equal
            .iter()
            .map(|(column, text)| Ok((in_sink(column)?, text.clone())))
            .collect::<Result<_, Error>>()?;
        let request = KeptRequest { columns: self.kept.columns.clone(), equal };
        let mut failure = None;
        let mut take = |batch: ChangeBatch| match self.kept.as_sent(&batch) {
            Ok(batch) => receive(batch),
            Err(error) => {
                failure = Some(error);
                false
            }
        };
        self.runtime.block_on(self.sink.kept_rows(&request, &mut take))?;
        failure.map_or(Ok(()), Err)
    }
}
