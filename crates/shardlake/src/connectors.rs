//! Every connector of this program.

use std::sync::Arc;

use shardlake_builtin::{BlackholeFactory, DatagenFactory, PrintFactory};
use shardlake_iceberg_sink::{IcebergSinkFactory, IcebergSourceFactory};
use shardlake_mysql_cdc::MysqlCdcFactory;
use shardlake_sql::catalog::Connectors;

/// The connectors.
pub(crate) fn connectors() -> Connectors {
    Connectors::default()
        .with_source(Arc::new(MysqlCdcFactory))
        .with_source(Arc::new(DatagenFactory))
        .with_source(Arc::new(IcebergSourceFactory))
        .with_sink(Arc::new(IcebergSinkFactory))
        .with_sink(Arc::new(PrintFactory))
        .with_sink(Arc::new(BlackholeFactory))
}
