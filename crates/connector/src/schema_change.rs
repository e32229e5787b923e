//! How a sink follows changes of the columns of what it is filled from.
//!
//! Batches describe themselves. A source that follows the columns of its tables sends the columns that the job
//! asked for, in their order, and behind them those that its tables have besides; a column whose values no longer
//! fit has a wider type. Batches of one lane only ever gain columns, and widen their types, in order with the
//! rows. A batch without rows announces new columns, or carries a [`RowRemoval`]; it travels in order with the
//! others.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use shardlake_change::ChangeBatch;

use crate::Error;
use crate::options::{OptionKind, OptionSpec, Options};

/// What becomes of a change of a table's columns, as `schema.change.behavior` of Flink CDC pipelines has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SchemaChangeBehavior {
    /// Columns are added and widened, nothing is ever lost: a column that is dropped or renamed at the source
    /// stays, and is NULL from then on. Emptied and dropped tables keep their rows.
    #[default]
    Lenient,
    /// As lenient, and the rows of emptied and dropped tables are removed. What cannot be applied stops its table.
    Evolve,
    /// As evolve, but what cannot be applied is passed over with a warning.
    TryEvolve,
    /// Nothing is applied; the declared columns stay.
    Ignore,
    /// Any change fails the job.
    Exception,
}

impl SchemaChangeBehavior {
    /// The options by which a sink's definition chooses it.
    pub const OPTIONS: [OptionSpec; 2] = [
        OptionSpec::new(
            "schema.evolution",
            OptionKind::Boolean,
            "Whether INSERT INTO … SELECT * follows the columns of the source.",
        )
        .default_value("false"),
        OptionSpec::new(
            "schema.change.behavior",
            OptionKind::Word(&["lenient", "evolve", "try_evolve", "ignore", "exception"]),
            "What becomes of a change of columns, where 'schema.evolution' is true.",
        )
        .default_value("lenient"),
    ];

    /// What a definition asks for; `None` if its columns shall stay as declared.
    ///
    /// # Errors
    /// A value is none of the options'.
    pub fn of_options(options: &Options) -> Result<Option<Self>, Error> {
        let [evolution, behavior] = Self::OPTIONS;
        if !options.boolean(&evolution)? {
            return Ok(None);
        }
        Ok(Some(match options.text(&behavior).unwrap_or_default() {
            "evolve" => Self::Evolve,
            "try_evolve" => Self::TryEvolve,
            "ignore" => Self::Ignore,
            "exception" => Self::Exception,
            _ => Self::Lenient,
        }))
    }

    /// Whether new columns are taken over.
    #[must_use]
    pub const fn follows_columns(self) -> bool {
        match self {
            Self::Lenient | Self::Evolve | Self::TryEvolve => true,
            Self::Ignore | Self::Exception => false,
        }
    }

    /// Whether the rows of an emptied or dropped table are removed.
    #[must_use]
    pub const fn removes_rows(self) -> bool {
        match self {
            Self::Evolve | Self::TryEvolve => true,
            Self::Lenient | Self::Ignore | Self::Exception => false,
        }
    }
}

/// The key in a batch's schema that holds a removal.
const REMOVAL_KEY: &str = "shardlake.remove-rows";

/// Rows in which text columns have certain values are gone, for example those of a table that was emptied.
///
/// It concerns rows that were sent before it, and only those: the engine commits them first, and the removal
/// before anything that follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowRemoval {
    /// Rows that have all the values of one of these lists of names and values.
    pub any_of: Vec<Vec<(String, String)>>,
}

impl RowRemoval {
    /// The batch that carries it, beside the columns of a lane.
    #[must_use]
    pub fn to_batch(&self, schema: &Schema) -> ChangeBatch {
        let text = serde_json::json!(self.any_of);
        let metadata = HashMap::from([(REMOVAL_KEY.to_owned(), text.to_string())]);
        let schema: SchemaRef = Arc::new(schema.clone().with_metadata(metadata));
        ChangeBatch::inserts(RecordBatch::new_empty(schema))
    }

    /// The removal that a batch carries, if it carries one.
    #[must_use]
    pub fn of_batch(batch: &ChangeBatch) -> Option<Self> {
        let schema = batch.schema();
        let text = schema.metadata().get(REMOVAL_KEY)?;
        let any_of = serde_json::from_str(text).ok()?;
        Some(Self { any_of })
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};

    use super::*;

    #[test]
    fn options_choose_the_behavior() {
        let check = |entries: &[(&str, &str)]| {
            let options: Options =
                entries.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
            SchemaChangeBehavior::of_options(&options).unwrap()
        };
        assert_eq!(check(&[("schema.change.behavior", "evolve")]), None);
        let on = ("schema.evolution", "true");
        assert_eq!(check(&[on]), Some(SchemaChangeBehavior::Lenient));
        let evolve = check(&[on, ("schema.change.behavior", "try_evolve")]);
        assert_eq!(evolve, Some(SchemaChangeBehavior::TryEvolve));
    }

    #[test]
    fn a_removal_travels_in_a_batch_without_rows() {
        let any_of = vec![vec![("t".to_owned(), "it's \"x\"".to_owned())], Vec::new()];
        let removal = RowRemoval { any_of };
        let schema = Schema::new(vec![Field::new("t", DataType::Utf8, true)]);
        let batch = removal.to_batch(&schema);
        assert_eq!((batch.row_count(), RowRemoval::of_batch(&batch)), (0, Some(removal)));
        let plain = ChangeBatch::inserts(RecordBatch::new_empty(Arc::new(schema)));
        assert_eq!(RowRemoval::of_batch(&plain), None);
    }
}
