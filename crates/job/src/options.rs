//! All options of a session that a job reads, for checks and for the documentation.

use shardlake_connector::OptionSpec;

use crate::recovery::RECOVERY_MODE;

/// The declarations of all options that a job reads from [`JobPlan::configuration`].
///
/// [`JobPlan::configuration`]: shardlake_sql::plan::JobPlan::configuration
#[must_use]
pub fn options() -> Vec<OptionSpec> {
    let engine = shardlake_dataflow::OPTIONS.iter().copied();
    [RECOVERY_MODE].into_iter().chain(engine).collect()
}
