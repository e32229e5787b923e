//! What is changed in a parsed query before DataFusion plans it, because Flink means something else.
//!
//! Unnamed columns are called `EXPR$0` and so on; units of time given as bare words become text;
//! `FLOOR(t TO HOUR)` becomes a function; a cast to `CHAR(n)` or `VARCHAR(n)` pads or cuts.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    CastKind, CeilFloorKind, DataType, DateTimeField, ExactNumberInfo, Expr, Fetch, Function,
    FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, LimitClause,
    ObjectName, Query, Select, SelectItem, SetExpr, TableAlias, TableFactor, TableWithJoins, Value,
    VisitMut, VisitorMut,
};
use shardlake_change::LogicalType;

use super::types::logical_type;
use crate::functions::{CUT_MOMENT, CUT_TEXT, PAD_TEXT};

/// A query as DataFusion is to plan it, and the names in its `FROM` clauses.
pub(super) struct Rewritten {
    pub(super) query: Query,
    /// The relations that are not names of `WITH`, each once, in order.
    pub(super) relations: Vec<ObjectName>,
    /// A clause that would be passed over otherwise.
    pub(super) refused: Option<&'static str>,
}

/// Rewrites a query.
pub(super) fn rewrite(query: &Query) -> Rewritten {
    let mut query = query.clone();
    let mut visitor = Rewriter::default();
    // The visitor never breaks.
    let _: ControlFlow<()> = query.visit(&mut visitor);
    let Rewriter { relations, with, refused } = visitor;
    let relations = relations
        .into_iter()
        .filter(|relation| match relation.0.as_slice() {
            [single] => single.as_ident().is_none_or(|name| !with.contains(&name.value)),
            _ => true,
        })
        .collect();
    Rewritten { query, relations, refused }
}

#[derive(Default)]
struct Rewriter {
    relations: Vec<ObjectName>,
    with: BTreeSet<String>,
    refused: Option<&'static str>,
}

impl VisitorMut for Rewriter {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Some(with) = &query.with {
            self.with.extend(with.cte_tables.iter().map(|table| table.alias.name.value.clone()));
        }
        fetch_to_limit(query);
        self.refused = self.refused.or_else(|| ignored_clause(query));
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let SetExpr::Values(values) = query.body.as_ref() {
            let width = values.rows.first().map_or(0, |row| row.content.len());
            name_values(query, width);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        self.refused = self.refused.or_else(|| ignored_part(select));
        let mut names = BTreeSet::new();
        for (index, item) in select.projection.iter_mut().enumerate() {
            let SelectItem::UnnamedExpr(expr) = item else { continue };
            let alias = match column_name(expr) {
                None => expression_name(index),
                Some(name) if names.insert(name.clone()) => continue,
                Some(name) => unique_name(&name, &mut names),
            };
            let expr = std::mem::replace(expr, Expr::value(Value::Null));
            *item = SelectItem::ExprWithAlias { expr, alias };
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        self.refused = self.refused.or_else(|| ignored_modifier(factor));
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
        if !self.relations.contains(relation) {
            self.relations.push(relation.clone());
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) => quote_unit(function),
            Expr::Floor { .. } | Expr::Ceil { .. } => floor_or_ceil(expr),
            Expr::Cast { .. } => cut_to_type(expr),
            Expr::Value(_) => double_literal(expr),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// `FETCH FIRST n ROWS ONLY` is `LIMIT n`.
fn fetch_to_limit(query: &mut Query) {
    let plain = |fetch: &Fetch| !fetch.with_ties && !fetch.percent && fetch.quantity.is_some();
    if !query.fetch.as_ref().is_some_and(plain) {
        return;
    }
    match &mut query.limit_clause {
        Some(LimitClause::LimitOffset { limit: limit @ None, .. }) => {
            *limit = query.fetch.take().and_then(|fetch| fetch.quantity);
        }
        None => {
            let limit = query.fetch.take().and_then(|fetch| fetch.quantity);
            query.limit_clause =
                Some(LimitClause::LimitOffset { limit, offset: None, limit_by: Vec::new() });
        }
        Some(_) => {}
    }
}

/// What DataFusion's planner passes over in a query.
fn ignored_clause(query: &Query) -> Option<&'static str> {
    if !query.locks.is_empty() {
        Some("FOR UPDATE")
    } else if query.for_clause.is_some() {
        Some("FOR XML or FOR JSON")
    } else if query.settings.is_some() || query.format_clause.is_some() {
        Some("SETTINGS or FORMAT")
    } else if !query.pipe_operators.is_empty() {
        Some("The pipe operator |>")
    } else {
        None
    }
}

/// What DataFusion's planner passes over in a `SELECT`.
fn ignored_part(select: &Select) -> Option<&'static str> {
    if select.into.is_some() {
        Some("SELECT INTO")
    } else if !select.connect_by.is_empty() {
        Some("CONNECT BY")
    } else if !select.distribute_by.is_empty() {
        Some("DISTRIBUTE BY")
    } else if select.prewhere.is_some() {
        Some("PREWHERE")
    } else if select.value_table_mode.is_some() {
        Some("SELECT AS STRUCT or AS VALUE")
    } else if select.select_modifiers.is_some() {
        Some("A modifier of SELECT")
    } else {
        None
    }
}

/// What DataFusion's planner passes over behind a table's name.
fn ignored_modifier(factor: &TableFactor) -> Option<&'static str> {
    match factor {
        TableFactor::Table { sample: Some(_), .. }
        | TableFactor::Derived { sample: Some(_), .. } => Some("TABLESAMPLE"),
        TableFactor::MatchRecognize { .. } => Some("MATCH_RECOGNIZE"),
        TableFactor::Pivot { .. } | TableFactor::Unpivot { .. } => Some("PIVOT and UNPIVOT"),
        TableFactor::TableFunction { .. } | TableFactor::Function { .. } => {
            Some("A table function, windows such as TUMBLE among them,")
        }
        TableFactor::Table { args: Some(_), .. } => Some("A table function"),
        TableFactor::Table { version: Some(_), .. } => Some("This form of time travel"),
        TableFactor::Table { with_ordinality: true, .. } => Some("WITH ORDINALITY"),
        TableFactor::Table { with_hints, index_hints, partitions, .. }
            if !with_hints.is_empty() || !index_hints.is_empty() || !partitions.is_empty() =>
        {
            Some("This hint or partition list of a table")
        }
        _ => None,
    }
}

/// The name of the column that an expression is.
fn column_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(name.value.clone()),
        Expr::CompoundIdentifier(parts) => parts.last().map(|name| name.value.clone()),
        _ => None,
    }
}

/// A column that is selected again is called `id0`, then `id1`.
fn unique_name(name: &str, names: &mut BTreeSet<String>) -> Ident {
    let mut suffix = 0;
    loop {
        let candidate = format!("{name}{suffix}");
        if names.insert(candidate.clone()) {
            return Ident::with_quote('`', candidate);
        }
        suffix += 1;
    }
}

/// `EXPR$n`, quoted so that it is an identifier.
fn expression_name(index: usize) -> Ident {
    Ident::with_quote('`', format!("EXPR${index}"))
}

/// `VALUES …` becomes `SELECT column1 AS EXPR$0, … FROM (VALUES …)`.
fn name_values(query: &mut Query, width: usize) {
    let mut inner = query.clone();
    inner.with = None;
    inner.order_by = None;
    inner.limit_clause = None;
    inner.fetch = None;
    let projection = (0..width)
        .map(|index| SelectItem::ExprWithAlias {
            expr: Expr::Identifier(Ident::new(format!("column{}", index + 1))),
            alias: expression_name(index),
        })
        .collect();
    let relation = TableFactor::Derived {
        lateral: false,
        subquery: Box::new(inner),
        alias: None::<TableAlias>,
        sample: None,
    };
    let mut select = empty_select();
    select.projection = projection;
    select.from = vec![TableWithJoins { relation, joins: Vec::new() }];
    *query.body = SetExpr::Select(Box::new(select));
}

fn empty_select() -> Select {
    use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
    use datafusion::sql::sqlparser::ast::{GroupByExpr, SelectFlavor};
    Select {
        select_token: AttachedToken::empty(),
        optimizer_hints: Vec::new(),
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: false,
        projection: Vec::new(),
        exclude: None,
        into: None,
        from: Vec::new(),
        lateral_views: Vec::new(),
        prewhere: None,
        selection: None,
        connect_by: Vec::new(),
        group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
        cluster_by: Vec::new(),
        distribute_by: Vec::new(),
        sort_by: Vec::new(),
        having: None,
        named_window: Vec::new(),
        qualify: None,
        window_before_qualify: false,
        value_table_mode: None,
        flavor: SelectFlavor::Standard,
    }
}

/// `TIMESTAMPDIFF(DAY, a, b)`: the unit is a word, not a column.
fn quote_unit(function: &mut Function) {
    let name = function.name.to_string();
    if !name.eq_ignore_ascii_case("TIMESTAMPDIFF") && !name.eq_ignore_ascii_case("TIMESTAMPADD") {
        return;
    }
    let FunctionArguments::List(list) = &mut function.args else { return };
    if let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(unit))) = list.args.first_mut()
        && let Expr::Identifier(word) = unit
    {
        *unit = text(word.value.clone());
    }
}

fn text(value: String) -> Expr {
    Expr::value(Value::SingleQuotedString(value))
}

fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let args = arguments
        .into_iter()
        .map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)))
        .collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

fn floor_or_ceil(expr: &mut Expr) {
    let (name, argument, field) = match expr {
        Expr::Floor { expr, field } => ("__floor_to", expr, field),
        Expr::Ceil { expr, field } => ("__ceil_to", expr, field),
        _ => return,
    };
    let CeilFloorKind::DateTimeField(field) = field else { return };
    if matches!(field, DateTimeField::NoDateTime) {
        return;
    }
    let unit = text(field.to_string().to_uppercase());
    let argument = std::mem::replace(argument.as_mut(), Expr::value(Value::Null));
    *expr = call(name, vec![unit, argument]);
}

/// `1e3` is a DOUBLE; without an exponent a number with a point is a DECIMAL.
fn double_literal(expr: &mut Expr) {
    let Expr::Value(value) = expr else { return };
    let Value::Number(digits, _) = &value.value else { return };
    if !digits.contains(['e', 'E']) {
        return;
    }
    let number = text(digits.clone());
    *expr = Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(number),
        data_type: DataType::Double(ExactNumberInfo::None),
        array: false,
        format: None,
    };
}

/// A cast to a type with a length or a precision, which Arrow's types have not, is followed by a cut:
/// `VARCHAR(n)` keeps n characters, `CHAR(n)` also pads with blanks, `TIMESTAMP(3)` keeps milliseconds.
fn cut_to_type(expr: &mut Expr) {
    let Expr::Cast { data_type, .. } = expr else { return };
    let (name, size) = match logical_type(data_type) {
        Ok(LogicalType::VarChar(len)) => (CUT_TEXT, len),
        Ok(LogicalType::Char(len)) => (PAD_TEXT, len),
        Ok(
            LogicalType::Timestamp(digits)
            | LogicalType::TimestampLtz(digits)
            | LogicalType::Time(digits),
        ) if digits < 6 => (CUT_MOMENT, u32::from(digits)),
        _ => return,
    };
    if name != CUT_MOMENT {
        *data_type = DataType::String(None);
    }
    let cast = std::mem::replace(expr, Expr::value(Value::Null));
    *expr = call(name, vec![cast, Expr::value(Value::Number(size.to_string(), false))]);
}
