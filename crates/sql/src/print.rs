//! Text of results, as Flink's client prints it.
//!
//! Rows become text in three forms: [`Tableau`] for people, [`JsonLines`] and [`Csv`] for scripts. All take
//! batches with the Arrow types of their columns' logical types.

mod cell;
pub(crate) mod ddl;
mod lines;
mod messages;
mod splits;
mod tableau;

pub use cell::CellFormat;
pub use lines::{Csv, JsonLines};
pub use messages::{
    EXECUTE_SUCCEEDED, HELP, JOB_FINISHED, JobRow, SUBMITTING, error_text, job_submitted,
    jobs_table, savepoint_table, text_table, warning_text,
};
pub use splits::splits_table;
pub use tableau::{Tableau, footer, row_count_text};
