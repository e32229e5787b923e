//! `CREATE TABLE … LIKE`: which parts of another definition a new table takes over.
//!
//! The rules are those of Flink's `MergeTableLikeUtil`: everything is included, and of options the new
//! table's own win, unless the statement says otherwise.

use super::{CatalogTable, ColumnDefinition, ColumnKind, Watermark};
use crate::diagnostic::Diagnostic;
use crate::statement::{CreateTable, LikeFeature, LikeRule};

/// The definition of `statement`'s table, with what it takes from `base`.
pub(crate) fn derive_like(
    statement: &CreateTable,
    base: Option<&CatalogTable>,
) -> Result<CatalogTable, Diagnostic> {
    let own = CatalogTable {
        columns: statement.columns.clone(),
        primary_key: statement.primary_key.clone(),
        partitioned_by: statement.partitioned_by.clone(),
        options: statement.options.clone(),
        comment: statement.comment.clone(),
        watermark: statement.watermark.clone(),
    };
    let (Some(base), Some(like)) = (base, &statement.like) else {
        return Ok(own);
    };
    let rules = Rules::new(&like.rules)?;
    Ok(CatalogTable {
        columns: columns(base, &own, &rules)?,
        primary_key: exclusive(
            rules.of(LikeFeature::Constraints),
            base.primary_key.clone(),
            own.primary_key,
            "The base table already has a primary key. You might want to specify EXCLUDING CONSTRAINTS.",
        )?,
        partitioned_by: exclusive(
            rules.of(LikeFeature::Partitions),
            Some(base.partitioned_by.clone()).filter(|columns| !columns.is_empty()),
            Some(own.partitioned_by).filter(|columns| !columns.is_empty()),
            "The base table already has partitions defined. You might want to specify EXCLUDING \
             PARTITIONS.",
        )?
        .unwrap_or_default(),
        options: options(base, statement, rules.of(LikeFeature::Options))?,
        comment: own.comment.or_else(|| base.comment.clone()),
        watermark: watermark(base, own.watermark, rules.of(LikeFeature::Watermarks))?,
    })
}

fn watermark(
    base: &CatalogTable,
    own: Option<Watermark>,
    rule: LikeRule,
) -> Result<Option<Watermark>, Diagnostic> {
    match (rule, &base.watermark, own) {
        (LikeRule::Excluding, _, own)
        | (_, None, own)
        | (LikeRule::Overwriting, _, own @ Some(_)) => Ok(own),
        (_, Some(base), None) => Ok(Some(base.clone())),
        (LikeRule::Including, Some(base), Some(_)) => Err(Diagnostic::table_definition(format!(
            "There already exists a watermark spec for column '{}' in the base table. You might \
                 want to specify EXCLUDING WATERMARKS or OVERWRITING WATERMARKS.",
            base.column
        ))),
    }
}

struct Rules(Vec<(LikeFeature, LikeRule)>);

impl Rules {
    fn new(rules: &[(LikeFeature, LikeRule)]) -> Result<Self, Diagnostic> {
        for (index, (feature, rule)) in rules.iter().enumerate() {
            if rules.iter().skip(index + 1).any(|(other, _)| other == feature) {
                return Err(Diagnostic::syntax(
                    "Each like option feature can be declared only once.",
                ));
            }
            let takes_overwriting = matches!(
                feature,
                LikeFeature::Generated
                    | LikeFeature::Metadata
                    | LikeFeature::Options
                    | LikeFeature::Watermarks
            );
            if *rule == LikeRule::Overwriting && !takes_overwriting {
                return Err(Diagnostic::syntax(format!(
                    "Illegal merging strategy 'OVERWRITING' for '{}' option.",
                    format!("{feature:?}").to_uppercase()
                )));
            }
        }
        Ok(Self(rules.to_vec()))
    }

    fn of(&self, feature: LikeFeature) -> LikeRule {
        let find = |wanted| self.0.iter().find(|(feature, _)| *feature == wanted);
        match find(feature).or_else(|| find(LikeFeature::All)) {
            Some((_, rule)) => *rule,
            None if feature == LikeFeature::Options => LikeRule::Overwriting,
            None => LikeRule::Including,
        }
    }
}

fn exclusive<T>(
    rule: LikeRule,
    base: Option<T>,
    own: Option<T>,
    message: &str,
) -> Result<Option<T>, Diagnostic> {
    match (rule, base, own) {
        (LikeRule::Excluding, _, own) | (_, None, own) => Ok(own),
        (LikeRule::Including | LikeRule::Overwriting, Some(base), None) => Ok(Some(base)),
        (LikeRule::Including | LikeRule::Overwriting, Some(_), Some(_)) => {
            Err(Diagnostic::table_definition(message))
        }
    }
}

fn columns(
    base: &CatalogTable,
    own: &CatalogTable,
    rules: &Rules,
) -> Result<Vec<ColumnDefinition>, Diagnostic> {
    let mut columns: Vec<ColumnDefinition> = Vec::new();
    for column in &base.columns {
        let rule = match column.kind {
            ColumnKind::Physical { .. } => LikeRule::Including,
            ColumnKind::Metadata { .. } => rules.of(LikeFeature::Metadata),
            ColumnKind::Computed { .. } => rules.of(LikeFeature::Generated),
        };
        if rule != LikeRule::Excluding {
            columns.push(column.clone());
        }
    }
    for column in &own.columns {
        let Some(place) = columns.iter_mut().find(|other| other.name == column.name) else {
            columns.push(column.clone());
            continue;
        };
        let (feature, kind) = match (&place.kind, &column.kind) {
            (ColumnKind::Computed { .. }, ColumnKind::Computed { .. }) => {
                (LikeFeature::Generated, "generated")
            }
            (ColumnKind::Metadata { .. }, ColumnKind::Metadata { .. }) => {
                (LikeFeature::Metadata, "metadata")
            }
            _ => {
                return Err(Diagnostic::table_definition(format!(
                    "A column named '{}' already exists in the base table.",
                    column.name
                )));
            }
        };
        if rules.of(feature) != LikeRule::Overwriting {
            return Err(Diagnostic::table_definition(format!(
                "A {kind} column named '{}' already exists in the base table. You might want to \
                 specify EXCLUDING {} or OVERWRITING {}.",
                column.name,
                if kind == "metadata" { "METADATA" } else { "GENERATED" },
                if kind == "metadata" { "METADATA" } else { "GENERATED" },
            )));
        }
        *place = column.clone();
    }
    Ok(columns)
}

fn options(
    base: &CatalogTable,
    statement: &CreateTable,
    rule: LikeRule,
) -> Result<shardlake_connector::Options, Diagnostic> {
    if rule == LikeRule::Excluding {
        return Ok(statement.options.clone());
    }
    let mut options = base.options.clone();
    for (key, value) in statement.options.iter() {
        if rule == LikeRule::Including && options.get(key).is_some() {
            return Err(Diagnostic::table_definition(format!(
                "There already exists an option ['{key}'] in the base table. You might want to specify \
                 EXCLUDING OPTIONS or OVERWRITING OPTIONS."
            )));
        }
        options.set(key, value);
    }
    Ok(options)
}
