//! Text of results, as Flink's client prints it.

pub(crate) mod ddl;
