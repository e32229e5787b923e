//! Updates whose JSON columns hold differences only (`binlog_row_value_options=PARTIAL_JSON`) → updates with whole
//! values.
//!
//! The image before the update is whole; the image after it begins with options and, if they say so, a bit for each
//! JSON column of the table, which says whether the column holds differences. They are applied to the value before.

use super::RowsPlan;
use crate::cursor::Cursor;
use crate::decode::is_null;
use crate::error::{Error, Result};
use crate::value::jsonb::apply_differences;

/// The option that a bit for each JSON column follows.
const PARTIAL_JSON: u64 = 1;

impl RowsPlan {
    /// The rows of an event with whole values.
    pub(super) fn complete(&self, rows: &[u8]) -> Result<Vec<u8>> {
        let mut rows = Cursor::new(rows);
        let mut out = Vec::with_capacity(rows.len() * 2);
        while !rows.is_empty() {
            let before = rows;
            self.skip_image(&mut rows)?;
            let image = before.rest().get(..before.len() - rows.len());
            out.extend_from_slice(image.unwrap_or_default());
            self.complete_image(before, &mut rows, &mut out).ok_or_else(|| {
                Error::malformed("rows event", "its JSON differences are damaged")
            })?;
        }
        Ok(out)
    }

    fn complete_image(
        &self,
        before: Cursor<'_>,
        rows: &mut Cursor<'_>,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let options = rows.lenenc()?;
        let json_count = self.columns.iter().filter(|plan| plan.is_json()).count();
        let partial =
            if options & PARTIAL_JSON == 0 { &[][..] } else { rows.take(json_count.div_ceil(8))? };
        let nulls = rows.take(self.columns.len().div_ceil(8))?;
        out.extend_from_slice(nulls);
        let mut json = 0;
        for (index, plan) in self.columns.iter().enumerate() {
            let bit = plan.is_json().then(|| {
                json += 1;
                json - 1
            });
            if is_null(nulls, index) {
                continue;
            }
            let has_differences = bit
                .is_some_and(|bit| partial.get(bit / 8).is_some_and(|b| b >> (bit % 8) & 1 == 1));
            let start = *rows;
            let cell = plan.wire.cell(rows)?;
            if has_differences {
                let document = self.cell(before, index).ok()??;
                let changed = apply_differences(document, cell)?;
                // A JSON's length always has four bytes.
                out.extend(u32::try_from(changed.len()).ok()?.to_le_bytes());
                out.extend(changed);
            } else {
                out.extend_from_slice(start.rest().get(..start.len() - rows.len())?);
            }
        }
        Some(())
    }
}
