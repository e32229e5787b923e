//! Reads `information_schema.COLUMNS.COLUMN_TYPE`, for example `int unsigned` or `enum('a','it''s')`.

use std::sync::Arc;

use super::SourceType;
use crate::charset::Charset;

/// The type, or `None` if it is unknown. Text without a character set is taken as `utf8mb4`.
pub(super) fn parse(column_type: &str, charset: Option<&str>) -> Option<SourceType> {
    let end = column_type.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(column_type.len());
    let (word, rest) = column_type.split_at_checked(end)?;
    let word = word.to_ascii_lowercase();
    let arguments = rest.strip_prefix('(').and_then(|rest| rest.rsplit_once(')'));
    let (arguments, attributes) = arguments.unwrap_or(("", rest));
    let unsigned = attributes
        .split_ascii_whitespace()
        .any(|word| word.eq_ignore_ascii_case("unsigned") || word.eq_ignore_ascii_case("zerofill"));
    let mut numbers = arguments.split(',').map(|number| number.trim().parse::<u8>().ok());
    let mut number = |default: u8| numbers.next().flatten().unwrap_or(default);
    let integer = |bytes| SourceType::Integer { bytes, unsigned };
    Some(match word.as_str() {
        "tinyint" | "bool" | "boolean" => integer(1),
        "smallint" => integer(2),
        "mediumint" => integer(3),
        "int" | "integer" => integer(4),
        "bigint" => integer(8),
        "float" => SourceType::Float,
        "double" | "real" => SourceType::Double,
        "decimal" | "numeric" | "fixed" => {
            SourceType::Decimal { precision: number(10), scale: number(0) }
        }
        "bit" => SourceType::Bit { bits: number(1) },
        "year" => SourceType::Year,
        "date" => SourceType::Date,
        "time" => SourceType::Time { fraction: number(0) },
        "datetime" => SourceType::DateTime { fraction: number(0) },
        "timestamp" => SourceType::Timestamp { fraction: number(0) },
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => {
            SourceType::Text(charset.map_or(Charset::UTF8, Charset::named))
        }
        "binary" => SourceType::Binary { length: arguments.trim().parse().unwrap_or(1) },
        "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => SourceType::Bytes,
        "enum" => SourceType::Enum(Some(members(arguments)?)),
        "set" => SourceType::Set(Some(members(arguments)?)),
        "json" => SourceType::Json,
        "vector" => SourceType::Vector,
        "uuid" => SourceType::Uuid,
        "inet4" => SourceType::Inet4,
        "inet6" => SourceType::Inet6,
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geometrycollection" | "geomcollection" => SourceType::Geometry,
        _ => return None,
    })
}

/// The members of a list of quoted strings, in which a quote is written twice.
fn members(list: &str) -> Option<Arc<[String]>> {
    let mut members = Vec::new();
    let mut characters = list.chars().peekable();
    loop {
        if characters.next()? != '\'' {
            return None;
        }
        let mut member = String::new();
        loop {
            match characters.next()? {
                '\'' if characters.peek() == Some(&'\'') => {
                    characters.next();
                    member.push('\'');
                }
                '\'' => break,
                character => member.push(character),
            }
        }
        members.push(member);
        match characters.next() {
            None => return Some(members.into()),
            Some(',') => {}
            Some(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_read() {
        for (text, charset, expected) in [
            ("int", None, "INT"),
            ("int(10) unsigned zerofill", None, "INT UNSIGNED"),
            ("bigint unsigned", None, "BIGINT UNSIGNED"),
            ("tinyint(1)", None, "TINYINT"),
            ("decimal(65,30)", None, "DECIMAL(65, 30)"),
            ("varchar(255)", Some("latin1"), "text in latin1"),
            ("char(0)", Some("gbk"), "text in gbk"),
            ("binary(300)", None, "BINARY(300)"),
            ("datetime(6)", None, "DATETIME(6)"),
            ("bit(64)", None, "BIT(64)"),
            ("mediumblob", None, "VARBINARY or BLOB"),
            ("point", None, "GEOMETRY"),
            ("timestamp", None, "TIMESTAMP"),
        ] {
            assert_eq!(parse(text, charset).unwrap().to_string(), expected, "{text}");
        }
        assert_eq!(parse("hyperloglog(3)", None), None);
    }

    #[test]
    fn members_keep_quotes_commas_and_brackets() {
        let expected: Vec<String> = vec!["a".into(), "it's".into(), "x,y)".into(), "".into()];
        let Some(SourceType::Enum(Some(members))) = parse("enum('a','it''s','x,y)','')", None)
        else {
            panic!("no members")
        };
        assert_eq!(*members, *expected);
    }
}
