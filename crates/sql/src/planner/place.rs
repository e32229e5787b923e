//! Where in a statement a part of its query stands.
//!
//! DataFusion counts lines and columns of the whole statement; a diagnostic counts bytes. The place of
//! the query's first token ties the two together.

use datafusion::common::{DataFusionError, Location};
use datafusion::sql::sqlparser::ast::{ObjectName, Spanned as _};

use crate::diagnostic::Span;
use crate::statement::Query;

/// The place that an error of DataFusion's planner names.
pub(super) fn place_of_error(query: &Query, error: &DataFusionError) -> Option<Span> {
    let span = error.diagnostic()?.span?;
    place(query, span.start, span.end)
}

/// The place of a table's name.
pub(super) fn place_of_name(query: &Query, name: &ObjectName) -> Option<Span> {
    let span = name.span();
    let at = |line: u64, column: u64| Location { line, column };
    let (start, end) = (span.start, span.end);
    place(query, at(start.line, start.column), at(end.line, end.column))
}

fn place(query: &Query, start: Location, end: Location) -> Option<Span> {
    let first = query.text.split_whitespace().next()?;
    // The tokens of other queries are not known from the first one on.
    if !first.eq_ignore_ascii_case("SELECT") && !first.eq_ignore_ascii_case("WITH") {
        return None;
    }
    let origin = query.body.span().start;
    let origin = Location { line: origin.line, column: origin.column };
    let start = byte(&query.text, origin, start)?;
    let end = byte(&query.text, origin, end)?;
    (start <= end).then_some(Span { start: start + query.offset, end: end + query.offset })
}

/// The byte of `text`, whose first character stands at `origin`, at a place.
fn byte(text: &str, origin: Location, place: Location) -> Option<usize> {
    let line = usize::try_from(place.line.checked_sub(origin.line)?).ok()?;
    let first_column = if line == 0 { origin.column } else { 1 };
    let column = usize::try_from(place.column.checked_sub(first_column)?).ok()?;
    let before: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(before..)?;
    let within = rest.char_indices().map(|(byte, _)| byte).chain([rest.len()]).nth(column)?;
    Some(before + within)
}
