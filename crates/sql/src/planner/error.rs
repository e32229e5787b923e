//! DataFusion's errors in Flink's words.

use datafusion::common::{DataFusionError, SchemaError};

use crate::diagnostic::{Code, Diagnostic};
use crate::expression::arrow_reason;
use crate::functions::FunctionRegistry;

/// What to tell the user about an error of planning or of a batch query.
pub(crate) fn diagnostic(error: &DataFusionError) -> Diagnostic {
    match error.find_root() {
        DataFusionError::SchemaError(schema, _) => schema_diagnostic(schema),
        DataFusionError::NotImplemented(what) => {
            // The rest of such a message is the query's inner form.
            let what = tidy(what);
            let what = what.split(" {").next().unwrap_or(&what);
            Diagnostic::new(Code::Unsupported, format!("SQL validation failed. {what}"))
        }
        DataFusionError::Plan(message) => plan_diagnostic(message),
        DataFusionError::Internal(message) => Diagnostic::internal(tidy(message)),
        DataFusionError::ResourcesExhausted(message) => {
            Diagnostic::new(Code::Planning, tidy(message)).with_hint(
                "Give queries more memory with SET 'shardlake.query.memory-size' = '1 gb';, or \
                 select less.",
            )
        }
        DataFusionError::Execution(message) => Diagnostic::new(Code::Planning, tidy(message)),
        DataFusionError::ArrowError(error, _) => {
            Diagnostic::new(Code::Planning, format!("The query failed: {}", arrow_reason(error)))
        }
        other => Diagnostic::new(Code::Planning, tidy(&other.strip_backtrace())),
    }
}

/// Without DataFusion's prefixes and backtraces.
fn tidy(message: &str) -> String {
    let message = message.split("\n\nbacktrace:").next().unwrap_or(message);
    let prefixes = ["Error during planning: ", "Execution error: ", "Arrow error: "];
    let mut rest = message;
    while let Some(shorter) = prefixes.iter().find_map(|prefix| rest.strip_prefix(prefix)) {
        rest = shorter;
    }
    rest.to_owned()
}

fn schema_diagnostic(error: &SchemaError) -> Diagnostic {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let available: Vec<String> =
                valid_fields.iter().map(|column| column.name.clone()).collect();
            match &field.relation {
                None => Diagnostic::column_not_found(&field.name, &available),
                Some(table) => {
                    let message = format!(
                        "SQL validation failed. Column '{}' not found in table '{table}'",
                        field.name
                    );
                    Diagnostic::new(Code::ColumnNotFound, message)
                        .with_hint(format!("Available columns: {}", available.join(", ")))
                }
            }
        }
        SchemaError::AmbiguousReference { field } => {
            let message = format!("SQL validation failed. Column '{}' is ambiguous", field.name);
            Diagnostic::new(Code::ColumnNotFound, message)
                .with_hint("Write the table's name or alias in front of the column.")
        }
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => {
            let message = format!("SQL validation failed. Duplicate column name '{name}'");
            Diagnostic::new(Code::ColumnNotFound, message)
                .with_hint("Give one of the columns another name with AS.")
        }
    }
}

fn plan_diagnostic(message: &str) -> Diagnostic {
    let message = tidy(message);
    if let Some(rest) = message.strip_prefix("Invalid function '")
        && let Some((name, _)) = rest.split_once('\'')
    {
        return unknown_function(name);
    }
    if let Some(rest) = message.strip_prefix("Object '")
        && let Some((name, _)) = rest.split_once('\'')
    {
        return Diagnostic::object_not_found(name);
    }
    if let Some((_, rest)) =
        message.split_once("No function matches the given name and argument types '")
        && let Some((call, _)) = rest.split_once('\'')
        && let Some((name, types)) = call.split_once('(')
    {
        let name = name.to_uppercase();
        let message = format!(
            "SQL validation failed. Cannot apply '{name}' to arguments of type '{name}({types}'"
        );
        return Diagnostic::new(Code::TypeMismatch, message)
            .with_hint("Check the number of the arguments and CAST them to the types it takes.");
    }
    Diagnostic::new(Code::TypeMismatch, format!("SQL validation failed. {message}"))
}

fn unknown_function(name: &str) -> Diagnostic {
    let name = name.to_uppercase();
    let message = format!("SQL validation failed. No match found for function signature {name}");
    let known = FunctionRegistry::new().names();
    let mut close: Vec<(usize, String)> = known
        .into_iter()
        .map(|candidate| (distance(&name, &candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(name.len()) / 2)
        .collect();
    close.sort();
    let close: Vec<String> = close.into_iter().take(3).map(|(_, candidate)| candidate).collect();
    let hint = if close.is_empty() {
        "SHOW FUNCTIONS; lists the functions.".to_owned()
    } else {
        format!("Functions with such a name: {}", close.join(", "))
    };
    Diagnostic::new(Code::ColumnNotFound, message).with_hint(hint)
}

/// How many letters have to be changed, added or removed to make one word of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, letter) in one.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(i + 1);
        for (j, (candidate, above)) in other.iter().zip(row.windows(2)).enumerate() {
            let [diagonal, up] = above else { continue };
            let left = next.get(j).copied().unwrap_or(usize::MAX);
            let change = diagonal + usize::from(*candidate != letter);
            next.push(change.min(up + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
