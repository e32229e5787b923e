//! What could follow in an unfinished statement.

/// Words that are offered.
pub const KEYWORDS: &[&str] = &[
    "ALTER TABLE",
    "AS",
    "BEGIN STATEMENT SET",
    "BY",
    "CATALOG",
    "CATALOGS",
    "CLEAR",
    "COMMENT",
    "CREATE CATALOG",
    "CREATE DATABASE",
    "CREATE TABLE",
    "CREATE TEMPORARY TABLE",
    "CREATE VIEW",
    "DATABASE",
    "DATABASES",
    "DESCRIBE",
    "DISTINCT",
    "DROP DATABASE",
    "DROP TABLE",
    "DROP VIEW",
    "END",
    "EXECUTE STATEMENT SET",
    "EXISTS",
    "EXIT",
    "EXPLAIN",
    "FROM",
    "FUNCTIONS",
    "GROUP BY",
    "HAVING",
    "HELP",
    "IF",
    "IN",
    "INSERT INTO",
    "IS",
    "JOBS",
    "JOIN",
    "LEFT JOIN",
    "LIKE",
    "LIMIT",
    "METADATA",
    "NOT ENFORCED",
    "NOT NULL",
    "NULL",
    "ON",
    "ORDER BY",
    "PRIMARY KEY",
    "QUIT",
    "RESET",
    "SELECT",
    "SET",
    "SHOW CATALOGS",
    "SHOW CREATE TABLE",
    "SHOW DATABASES",
    "SHOW JOBS",
    "SHOW SPLITS FOR JOB",
    "SHOW TABLES",
    "SHOW VIEWS",
    "STOP JOB",
    "TABLES",
    "UNION ALL",
    "USE",
    "USE CATALOG",
    "VALUES",
    "VIRTUAL",
    "WHERE",
    "WITH",
];

/// Words after which the name of a table is expected.
const BEFORE_NAMES: [&str; 7] = ["FROM", "JOIN", "INTO", "TABLE", "DESCRIBE", "DESC", "VIEW"];

/// What could stand for the word that ends at `position` of `statement`: the full names of tables in
/// `place` where a table is expected, words of the language elsewhere.
pub(crate) fn candidates(
    statement: &str,
    position: usize,
    place: &str,
    names: &[String],
) -> Vec<String> {
    let before: String = statement.chars().take(position).collect();
    let is_separator = |c: char| !(c.is_alphanumeric() || c == '_' || c == '.');
    let typed = before.rsplit(is_separator).next().unwrap_or_default();
    let ahead = before.get(..before.len() - typed.len()).unwrap_or_default();
    let previous = ahead.split_whitespace().last().unwrap_or_default().to_ascii_uppercase();
    if BEFORE_NAMES.contains(&previous.as_str()) {
        let full = |name: &String| format!("{place}.{name}");
        let starts = |name: &&String| name.starts_with(typed) || full(name).starts_with(typed);
        return names.iter().filter(starts).map(full).collect();
    }
    if typed.is_empty() {
        return Vec::new();
    }
    let upper = typed.to_ascii_uppercase();
    KEYWORDS.iter().filter(|word| word.starts_with(&upper)).map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_follow_from_and_words_follow_nothing() {
        let names = ["gen".to_owned(), "other".to_owned()];
        let place = "default_catalog.default_database";
        let complete = |text: &str| candidates(text, text.len(), place, &names);
        assert_eq!(complete("SELECT * FROM g"), ["default_catalog.default_database.gen"]);
        assert_eq!(complete("sel"), ["SELECT"]);
        assert_eq!(complete("SELECT "), Vec::<String>::new());
    }
}
