//! Which tables a source reads: Java regular expressions over `database` and `database.table`.
//!
//! A table is read if the database expression matches its database as a whole and the two
//! expressions joined by a dot match `database.table` as a whole. Java's syntax is rewritten to that
//! of `fancy-regex`; an expression that backtracks without end is an error, never a hang.

use fancy_regex::{Regex, RegexBuilder};
use shardlake_change::TableId;
use shardlake_connector::Error as ConnectorError;

/// Steps that the backtracking matcher may take on one name.
const BACKTRACK_LIMIT: usize = 1_000_000;

/// Databases that belong to the server itself.
const SYSTEM_DATABASES: [&str; 4] = ["mysql", "sys", "information_schema", "performance_schema"];

/// Decides which tables belong to a source.
#[derive(Clone, Debug)]
pub(crate) struct TableMatcher {
    database_text: String,
    table_text: String,
    database: Regex,
    full: Regex,
}

impl TableMatcher {
    /// Compiles the options `database-name` and `table-name`.
    pub(crate) fn new(database: &str, table: &str) -> Result<Self, ConnectorError> {
        let database_pattern = compile("database-name", database, &to_rust_syntax(database))?;
        compile("table-name", table, &to_rust_syntax(table))?;
        let joined = format!("(?:{})\\.(?:{})", to_rust_syntax(database), to_rust_syntax(table));
        let full = compile("table-name", table, &joined)?;
        Ok(Self {
            database_text: database.to_owned(),
            table_text: table.to_owned(),
            database: database_pattern,
            full,
        })
    }

    /// The expression for databases, as the user wrote it.
    pub(crate) fn database_text(&self) -> &str {
        &self.database_text
    }

    /// The expression for tables, as the user wrote it.
    pub(crate) fn table_text(&self) -> &str {
        &self.table_text
    }

    /// Whether tables of this database can match.
    pub(crate) fn matches_database(&self, database: &str) -> Result<bool, ConnectorError> {
        if SYSTEM_DATABASES.iter().any(|name| name.eq_ignore_ascii_case(database)) {
            return Ok(false);
        }
        is_match(&self.database, "database-name", &self.database_text, database)
    }

    /// Whether the source reads this table. The tables that gh-ost and pt-online-schema-change make beside one
    /// that matches are not shards, whatever the expression says.
    pub(crate) fn matches(&self, table: &TableId) -> Result<bool, ConnectorError> {
        Ok(self.is_named(table)? && !self.is_shadow(table)?)
    }

    /// Whether the columns of this table matter: those of tables that are read, and of tables that may take
    /// their place.
    pub(crate) fn follows(&self, table: &TableId) -> Result<bool, ConnectorError> {
        Ok(self.is_named(table)? || self.is_shadow(table)?)
    }

    fn is_named(&self, table: &TableId) -> Result<bool, ConnectorError> {
        Ok(self.matches_database(&table.database)?
            && is_match(&self.full, "table-name", &self.table_text, &table.to_string())?)
    }

    fn is_shadow(&self, table: &TableId) -> Result<bool, ConnectorError> {
        match original_of(&table.table) {
            Some(original) => self.is_named(&TableId::new(table.database.clone(), original)),
            None => Ok(false),
        }
    }
}

/// For a name that gh-ost or pt-online-schema-change gives to a table beside `x` (`_x_gho`, `_x_ghc`, `_x_del`,
/// `_x_new`, `_x_old`; also with a time of day before the last part, and with more underscores in front where
/// the name was taken): `x`.
pub(crate) fn original_of(table: &str) -> Option<&str> {
    const ENDINGS: [&str; 5] = ["_gho", "_ghc", "_del", "_new", "_old"];
    let name = table.strip_prefix('_')?.trim_start_matches('_');
    let name = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending))?;
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let original = match stem.strip_suffix('_') {
        Some(before) if name.len() - stem.len() == 14 => before,
        _ => name,
    };
    (!original.is_empty()).then_some(original)
}

fn compile(option: &str, user_text: &str, pattern: &str) -> Result<Regex, ConnectorError> {
    let build = |pattern: &str| RegexBuilder::new(pattern).backtrack_limit(BACKTRACK_LIMIT).build();
    // By itself first: a stray bracket must not pair with those around it.
    build(pattern).and_then(|_| build(&format!("\\A(?:{pattern})\\z"))).map_err(|error| {
        ConnectorError::job(format!("The {option} '{user_text}' is not a valid regular expression"))
            .caused_by(error)
    })
}

fn is_match(
    regex: &Regex,
    option: &str,
    user_text: &str,
    name: &str,
) -> Result<bool, ConnectorError> {
    regex.is_match(name).map_err(|error| {
        ConnectorError::job(format!(
            "the {option} '{user_text}' takes too many steps on the name '{name}': \
             simplify the expression, for example by removing a repetition inside a repetition"
        ))
        .caused_by(error)
    })
}

/// Rewrites what Java and Rust write differently: `\Q…\E`, POSIX classes, `\h`, `\Z`, and the
/// classes `\d \w \s`, which are ASCII in Java.
fn to_rust_syntax(java: &str) -> String {
    let mut out = String::with_capacity(java.len());
    let mut rest = java;
    let mut class_depth = 0_usize;
    while let Some(c) = rest.chars().next() {
        let tail = rest.get(c.len_utf8()..).unwrap_or_default();
        if c != '\\' {
            match c {
                '[' => class_depth += 1,
                ']' => class_depth = class_depth.saturating_sub(1),
                _ => {}
            }
            out.push(c);
            rest = tail;
            continue;
        }
        rest = rewrite_escape(tail, class_depth > 0, &mut out);
    }
    out
}

/// Rewrites one escape, whose backslash has been read, and returns what follows it.
fn rewrite_escape<'a>(tail: &'a str, in_class: bool, out: &mut String) -> &'a str {
    let Some(c) = tail.chars().next() else {
        out.push('\\');
        return tail;
    };
    let rest = tail.get(c.len_utf8()..).unwrap_or_default();
    if c == 'Q' {
        let (quoted, rest) = rest.split_once("\\E").unwrap_or((rest, ""));
        for literal in quoted.chars() {
            if "\\.+*?()|[]{}^$#&-~".contains(literal) {
                out.push('\\');
            }
            out.push(literal);
        }
        return rest;
    }
    let (set, negated) = match c {
        'd' | 'D' => ("0-9", c == 'D'),
        'w' | 'W' => ("a-zA-Z_0-9", c == 'W'),
        's' | 'S' => (" \\t\\n\\x0B\\x0C\\r", c == 'S'),
        'h' | 'H' => {
            (" \\t\\u{a0}\\u{1680}\\u{2000}-\\u{200a}\\u{202f}\\u{205f}\\u{3000}", c == 'H')
        }
        'Z' => {
            out.push_str("\\z");
            return rest;
        }
        'p' | 'P' => return rewrite_property(rest, c == 'P', in_class, out),
        _ => {
            out.push('\\');
            out.push(c);
            return rest;
        }
    };
    push_set(set, negated, in_class, out);
    rest
}

fn push_set(set: &str, negated: bool, in_class: bool, out: &mut String) {
    if in_class && !negated {
        out.push_str(set);
    } else {
        let sign = if negated { "^" } else { "" };
        out.push_str(&format!("[{sign}{set}]"));
    }
}

/// Rewrites `\p{Alpha}` and its like; Unicode properties stay as they are.
fn rewrite_property<'a>(rest: &'a str, negated: bool, in_class: bool, out: &mut String) -> &'a str {
    let named = rest.strip_prefix('{').and_then(|body| body.split_once('}'));
    let set = named.and_then(|(name, _)| match name {
        "Lower" => Some("a-z"),
        "Upper" => Some("A-Z"),
        "Alpha" => Some("a-zA-Z"),
        "Digit" => Some("0-9"),
        "Alnum" => Some("a-zA-Z0-9"),
        "XDigit" => Some("0-9a-fA-F"),
        "ASCII" => Some("\\x00-\\x7F"),
        "Punct" => Some("!-/:-@\\[-`{-~"),
        "Graph" => Some("!-~"),
        "Print" => Some(" -~"),
        "Blank" => Some(" \\t"),
        "Space" => Some(" \\t\\n\\x0B\\x0C\\r"),
        "Cntrl" => Some("\\x00-\\x1F\\x7F"),
        "javaLowerCase" => Some("\\p{Lowercase}"),
        "javaUpperCase" => Some("\\p{Uppercase}"),
        _ => None,
    });
    match (set, named) {
        (Some(set), Some((_, after))) => {
            push_set(set, negated, in_class, out);
            after
        }
        (None, Some((name, after))) => {
            let sign = if negated { 'P' } else { 'p' };
            let name = name.strip_prefix("Is").unwrap_or(name);
            out.push_str(&format!("\\{sign}{{{name}}}"));
            after
        }
        (_, None) => {
            out.push_str(if negated { "\\P" } else { "\\p" });
            rest
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matched(database: &str, table: &str, names: &[(&str, &str)]) -> Vec<String> {
        let matcher = TableMatcher::new(database, table).unwrap();
        names
            .iter()
            .map(|(database, table)| TableId::new(*database, *table))
            .filter(|table| matcher.matches(table).unwrap())
            .map(|table| table.to_string())
            .collect()
    }

    #[test]
    fn the_whole_name_must_match() {
        let names = [
            ("user_db_1", "user_table_1"),
            ("user_db_1", "user_table_1x"),
            ("user_db_", "user_table_1"),
            ("xuser_db_1", "user_table_1"),
            ("user_db_22", "user_table_345"),
            ("user_db_1", "user_table_x"),
        ];
        assert_eq!(
            matched("user_db_[0-9]+", "user_table_[0-9]+", &names),
            ["user_db_1.user_table_1", "user_db_22.user_table_345"]
        );
    }

    #[test]
    fn alternatives_bind_to_their_own_option() {
        let names = [("a", "t"), ("b", "t"), ("a", "x"), ("b", "u"), ("c", "t")];
        assert_eq!(matched("a|b", "t|u", &names), ["a.t", "b.t", "b.u"]);
    }

    #[test]
    fn a_look_ahead_excludes_tables() {
        let names = [("db", "orders"), ("db", "orders_tmp"), ("db", "tmp"), ("db", "users")];
        assert_eq!(matched("db", "(?!.*tmp).*", &names), ["db.orders", "db.users"]);
        assert_eq!(matched("db", "(?!orders$)[a-z]+(?<!p)", &names), ["db.users"]);
    }

    #[test]
    fn names_hold_dots_dashes_and_any_letter() {
        let names = [("my.db", "a-b"), ("my", "db.a-b"), ("größe", "表"), ("x y", "p$q")];
        assert_eq!(matched("my\\.db", "a-b", &names), ["my.db.a-b"]);
        assert_eq!(matched("gr.+", "\\p{IsHan}+|表", &names), ["größe.表"]);
        assert_eq!(matched("\\Qx y\\E", "\\Qp$q\\E", &names), ["x y.p$q"]);
    }

    #[test]
    fn java_classes_are_ascii() {
        let names = [("d", "t1"), ("d", "t١"), ("d", "tA"), ("d", "tä"), ("d", "t_")];
        assert_eq!(matched("d", "t\\d", &names), ["d.t1"]);
        assert_eq!(matched("d", "t[\\w&&[^_]]", &names), ["d.t1", "d.tA"]);
        assert_eq!(matched("d", "t\\p{Alpha}", &names), ["d.tA"]);
        assert_eq!(matched("d", "t[\\P{Alnum}]", &names), ["d.t١", "d.tä", "d.t_"]);
    }

    #[test]
    fn databases_of_the_server_itself_never_match() {
        let names = [("mysql", "user"), ("sys", "x"), ("shop", "user")];
        assert_eq!(matched(".*", ".*", &names), ["shop.user"]);
    }

    #[test]
    fn shadow_tables_of_matched_tables_are_no_shards() {
        let names = ["t", "_t_gho", "_t_ghc", "_t_20240131235959_del", "__t_new", "_t_old", "_t_x"];
        let names = names.map(|name| ("d", name));
        assert_eq!(matched("d", ".*", &names), ["d.t", "d._t_x"]);
        let matcher = TableMatcher::new("d", "t_[0-9]+").unwrap();
        let follows = |name: &str| matcher.follows(&TableId::new("d", name)).unwrap();
        assert!(follows("_t_5_gho") && follows("t_5") && follows("__t_5_new"));
        assert!(!follows("_u_gho") && !follows("_gho") && !follows("u"));
    }

    #[test]
    fn an_invalid_expression_is_named_as_flink_names_it() {
        let error = TableMatcher::new("*_invalid_db", ".*").unwrap_err().to_string();
        assert_eq!(error, "The database-name '*_invalid_db' is not a valid regular expression");
        let error = TableMatcher::new("db", "(a").unwrap_err().to_string();
        assert_eq!(error, "The table-name '(a' is not a valid regular expression");
        // Each option must be whole by itself.
        TableMatcher::new("a)(", "b").unwrap_err();
    }

    #[test]
    fn endless_backtracking_is_an_error() {
        let matcher = TableMatcher::new("d", "(?=(a+)+$)(a|aa)+\\1b").unwrap();
        let error = matcher.matches(&TableId::new("d", "a".repeat(64))).unwrap_err().to_string();
        assert!(error.contains("takes too many steps"), "{error}");
    }

    proptest! {
        #[test]
        fn a_quoted_name_matches_itself_only(name in "[ -~äß表]{1,12}", other in "[ -~äß表]{1,12}") {
            prop_assume!(!name.contains("\\E") && !name.ends_with('\\'));
            let matcher = TableMatcher::new("d", &format!("\\Q{name}\\E")).unwrap();
            prop_assert!(matcher.matches(&TableId::new("d", name.clone())).unwrap());
            prop_assert_eq!(matcher.matches(&TableId::new("d", other.clone())).unwrap(), name == other);
        }

        #[test]
        fn no_expression_panics(database in ".{0,20}", table in ".{0,20}", name in ".{0,10}") {
            if let Ok(matcher) = TableMatcher::new(&database, &table) {
                let _outcome = matcher.matches(&TableId::new(name.clone(), name));
            }
        }
    }
}
