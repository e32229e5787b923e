//! Cutting a table into chunks by its key, and the SQL that reads them.
//!
//! Chunks are half-open ranges of one column, by default the first of the primary key; rows without a key (NULL)
//! are in the first one. Keys are compared by the
//! server alone, so collations and character sets never matter here: integer and decimal keys that
//! are spread evenly are cut by arithmetic, all others by asking the server for every n-th key.

use crate::chunk_key::ChunkKey;
use crate::position::KeyRange;

/// How keys of a column are written in SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    /// A whole or decimal number.
    Number,
    /// Text.
    Text,
    /// Bytes, printed as hexadecimal digits.
    Bytes,
    /// A date or a time.
    Temporal,
    /// A type whose order differs from that of its printed form: the table is one chunk.
    Uncut,
}

impl KeyKind {
    /// The kind of a column whose type information_schema names so.
    pub(crate) fn of(data_type: &str) -> Self {
        match data_type.to_ascii_lowercase().as_str() {
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "year" => {
                Self::Number
            }
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => Self::Text,
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Self::Bytes,
            "date" | "time" | "datetime" | "timestamp" => Self::Temporal,
            _ => Self::Uncut,
        }
    }

    /// Whether chunks may be cut by arithmetic (Flink: INT, BIGINT and DECIMAL).
    pub(crate) const fn is_number(self) -> bool {
        matches!(self, Self::Number)
    }

    /// The expression that prints a key.
    pub(crate) fn select(self, quoted_column: &str) -> String {
        match self {
            Self::Bytes => format!("HEX({quoted_column})"),
            Self::Number | Self::Text | Self::Temporal | Self::Uncut => quoted_column.to_owned(),
        }
    }

    /// The condition that a column holds exactly this key: in a collation several texts are equal.
    pub(crate) fn equals(self, quoted_column: &str, key: &str) -> String {
        let literal = self.literal(key);
        match self {
            Self::Text => format!(
                "{quoted_column} = {literal} AND HEX(CONVERT({quoted_column} USING utf8mb4)) = '{}'",
                hex(key.as_bytes())
            ),
            Self::Number | Self::Bytes | Self::Temporal | Self::Uncut => {
                format!("{quoted_column} = {literal}")
            }
        }
    }

    /// A key as SQL.
    fn literal(self, key: &str) -> String {
        match self {
            Self::Number | Self::Uncut if is_plain_number(key) => key.to_owned(),
            Self::Bytes => format!("X'{}'", hex_digits_of(key)),
            Self::Temporal => quote_text(key),
            Self::Number | Self::Text | Self::Uncut => {
                format!("_utf8mb4 X'{}'", hex(key.as_bytes()))
            }
        }
    }
}

fn is_plain_number(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
}

fn hex_digits_of(key: &str) -> String {
    key.chars().filter(char::is_ascii_hexdigit).collect()
}

/// Bytes as hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// A name between backticks.
pub(crate) fn quote_name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Text as a literal. Sessions run with an empty `sql_mode`, so a backslash escapes.
pub(crate) fn quote_text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// The condition that a row's key is in the range; `TRUE` for the whole table. NULL comes before all keys.
pub(crate) fn condition(key: &ChunkKey<'_>, keys: &KeyRange) -> String {
    let column = quote_name(key.column);
    let from = keys.from.as_ref().map(|from| format!("{column} >= {}", key.kind.literal(from)));
    let to = keys.to.as_ref().map(|to| format!("{column} < {}", key.kind.literal(to)));
    match (from, to) {
        (None, None) => "TRUE".to_owned(),
        (Some(from), None) => from,
        (None, Some(to)) if key.leads_primary => to,
        (None, Some(to)) => format!("({to} OR {column} IS NULL)"),
        (Some(from), Some(to)) => format!("{from} AND {to}"),
    }
}

/// The statement that finds where the chunk that begins at `from` ends: the key of the row
/// `chunk_size` rows on. Each answer is greater than `from` in the server's order, so cutting ends.
pub(crate) fn next_key_sql(
    table: &str,
    key: &ChunkKey<'_>,
    from: Option<&str>,
    chunk_size: u64,
) -> String {
    let quoted = quote_name(key.column);
    let after = match from {
        Some(from) => format!(" WHERE {quoted} > {}", key.kind.literal(from)),
        None if key.leads_primary => String::new(),
        None => format!(" WHERE {quoted} IS NOT NULL"),
    };
    let skip = if from.is_some() { chunk_size.saturating_sub(1) } else { chunk_size };
    format!(
        "SELECT {} FROM {table}{after} ORDER BY {quoted} LIMIT {},1",
        key.kind.select(&quoted),
        skip
    )
}

/// The ratio of key range to rows between which keys count as evenly spread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EvenFactors {
    /// Below it, many rows share a key.
    pub(crate) lower: f64,
    /// Above it, most keys are unused.
    pub(crate) upper: f64,
}

/// A decimal number: `unscaled / 10^scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Decimal {
    unscaled: i128,
    scale: u32,
}

impl Decimal {
    fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let unscaled = format!("{whole}{fraction}").parse().ok()?;
        Some(Self { unscaled, scale: u32::try_from(fraction.len()).ok()? })
    }

    fn unit(self) -> Option<i128> {
        10_i128.checked_pow(self.scale)
    }

    fn print(unscaled: i128, scale: u32) -> String {
        if scale == 0 {
            return unscaled.to_string();
        }
        let width = usize::try_from(scale).unwrap_or(0) + 1;
        let mut digits = format!("{:0>width$}", unscaled.unsigned_abs());
        digits.insert(digits.len() - (width - 1), '.');
        if unscaled < 0 { format!("-{digits}") } else { digits }
    }
}

/// Bounds between chunks by arithmetic, made one at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EvenBounds {
    next: Option<i128>,
    last: i128,
    step: i128,
    scale: u32,
}

impl EvenBounds {
    /// Plans the bounds for keys from `min` to `max`, or `None` if the keys are not spread evenly.
    pub(crate) fn plan(
        min: &str,
        max: &str,
        row_count: u64,
        chunk_size: u64,
        factors: EvenFactors,
    ) -> Option<Self> {
        let (min, max) = (Decimal::parse(min)?, Decimal::parse(max)?);
        if min.scale != max.scale {
            return None;
        }
        let unit = min.unit()?;
        let span = max.unscaled.checked_sub(min.unscaled)?.checked_add(unit)?;
        let factor = distribution_factor(span, unit, row_count);
        if factor < factors.lower || factor > factors.upper {
            return None;
        }
        if row_count <= chunk_size {
            // The server's estimate may be stale: only it can say whether one chunk is enough.
            return None;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "the step is an estimate; a float saturates"
        )]
        let step = ((factor * chunk_size as f64) as i128).max(1).checked_mul(unit)?;
        let next = min.unscaled.checked_add(step);
        Some(Self { next, last: max.unscaled, step, scale: min.scale })
    }
}

/// Key range by rows, rounded up to four digits as Flink does.
fn distribution_factor(span: i128, unit: i128, row_count: u64) -> f64 {
    if row_count == 0 {
        return f64::MAX;
    }
    #[expect(clippy::cast_precision_loss, reason = "a ratio of magnitudes")]
    let ratio = span as f64 / unit as f64 / row_count as f64;
    (ratio * 10_000.0).ceil() / 10_000.0
}

impl Iterator for EvenBounds {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let bound = self.next.filter(|bound| *bound <= self.last)?;
        self.next = bound.checked_add(self.step);
        Some(Decimal::print(bound, self.scale))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FACTORS: EvenFactors = EvenFactors { lower: 0.05, upper: 1_000.0 };

    fn bounds(min: &str, max: &str, row_count: u64, chunk_size: u64) -> Option<Vec<String>> {
        EvenBounds::plan(min, max, row_count, chunk_size, FACTORS).map(Iterator::collect)
    }

    #[test]
    fn even_keys_are_cut_by_arithmetic() {
        assert_eq!(bounds("1", "10", 10, 4).unwrap(), ["5", "9"]);
        assert_eq!(bounds("-5", "4", 10, 4).unwrap(), ["-1", "3"]);
        assert_eq!(bounds("1.50", "9.50", 9, 3).unwrap(), ["4.50", "7.50"]);
        assert_eq!(bounds("-0.50", "1.50", 3, 2).unwrap(), ["1.50"]);
        assert_eq!(
            bounds("18446744073709551610", "18446744073709551615", 6, 4).unwrap(),
            ["18446744073709551614"]
        );
    }

    #[test]
    fn uneven_keys_are_left_to_the_server() {
        assert_eq!(bounds("1", "1000000", 10, 4), None);
        assert_eq!(bounds("1", "2", 1_000, 4), None);
        assert_eq!(bounds("a", "z", 10, 4), None);
        assert_eq!(bounds("1", "10", 0, 4), None);
        assert_eq!(bounds("1", "10", 10, 10), None);
    }

    #[test]
    fn names_and_keys_are_quoted() {
        let keys = |from: &str, to: &str| KeyRange {
            from: (!from.is_empty()).then(|| from.to_owned()),
            to: (!to.is_empty()).then(|| to.to_owned()),
        };
        let key = |column, kind| ChunkKey { column, kind, leads_primary: true };
        insta::assert_snapshot!(condition(&key("a`b", KeyKind::Number), &keys("1", "")), @"`a``b` >= 1");
        insta::assert_snapshot!(condition(&key("id", KeyKind::Number), &keys("1 OR 1", "2")), @"`id` >= _utf8mb4 X'31204F522031' AND `id` < 2");
        insta::assert_snapshot!(condition(&key("id", KeyKind::Text), &keys("", "é'")), @"`id` < _utf8mb4 X'C3A927'");
        insta::assert_snapshot!(condition(&key("id", KeyKind::Bytes), &keys("00FF", "")), @"`id` >= X'00FF'");
        insta::assert_snapshot!(condition(&key("id", KeyKind::Temporal), &keys("2024-01-01", "")), @"`id` >= '2024-01-01'");
        insta::assert_snapshot!(condition(&key("id", KeyKind::Uncut), &KeyRange::default()), @"TRUE");
        insta::assert_snapshot!(next_key_sql("`d`.`t`", &key("id", KeyKind::Bytes), Some("0A"), 100), @"SELECT HEX(`id`) FROM `d`.`t` WHERE `id` > X'0A' ORDER BY `id` LIMIT 99,1");
        insta::assert_snapshot!(next_key_sql("`d`.`t`", &key("id", KeyKind::Text), None, 100), @"SELECT `id` FROM `d`.`t` ORDER BY `id` LIMIT 100,1");
        insta::assert_snapshot!(KeyKind::Text.equals("`id`", "a'"), @"`id` = _utf8mb4 X'6127' AND HEX(CONVERT(`id` USING utf8mb4)) = '6127'");
        let other = ChunkKey { column: "at", kind: KeyKind::Number, leads_primary: false };
        insta::assert_snapshot!(condition(&other, &keys("", "5")), @"(`at` < 5 OR `at` IS NULL)");
        insta::assert_snapshot!(next_key_sql("`d`.`t`", &other, None, 100), @"SELECT `at` FROM `d`.`t` WHERE `at` IS NOT NULL ORDER BY `at` LIMIT 100,1");
    }

    proptest! {
        /// Bounds grow, stay within the keys, and each step holds about `chunk_size` rows.
        #[test]
        fn even_bounds_cover_every_key_once(
            min in -1_000_i64..1_000,
            span in 200_i64..5_000,
            chunk_size in 2_u64..200,
        ) {
            let max = min + span - 1;
            let rows = u64::try_from(span).unwrap();
            let bounds = bounds(&min.to_string(), &max.to_string(), rows, chunk_size).unwrap();
            let bounds: Vec<i64> = bounds.iter().map(|bound| bound.parse().unwrap()).collect();
            prop_assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(bounds.iter().all(|bound| (min..=max).contains(bound)));
            for key in min..=max {
                let holding = (0..=bounds.len())
                    .filter(|&at| at == 0 || bounds[at - 1] <= key)
                    .filter(|&at| at == bounds.len() || key < bounds[at])
                    .count();
                prop_assert_eq!(holding, 1);
            }
        }

        #[test]
        fn decimals_print_as_they_are_read(unscaled in any::<i64>(), scale in 0_u32..10) {
            let text = Decimal::print(i128::from(unscaled), scale);
            let back = Decimal::parse(&text).unwrap();
            // "-0.5" loses its sign in the whole part only.
            prop_assert_eq!(back, Decimal { unscaled: i128::from(unscaled), scale });
        }
    }
}
