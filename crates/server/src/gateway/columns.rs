//! Columns and their types in JSON, as Flink's `LogicalTypeJsonSerializer` of the gateway writes them.

use serde_json::{Value, json};
use shardlake_change::{Column, LogicalType};

/// The length that Flink writes for `STRING` and `BYTES`.
const UNBOUNDED: u64 = 2_147_483_647;

/// A column of a result.
pub(crate) fn column_to_json(column: &Column) -> Value {
    json!({
        "name": column.name,
        "logicalType": type_to_json(&column.data_type, column.nullable),
        "comment": column.comment,
    })
}

fn type_to_json(data_type: &LogicalType, nullable: bool) -> Value {
    let sized =
        |name: &str, length: u64| json!({ "type": name, "nullable": nullable, "length": length });
    let precise = |name: &str, precision: u8| json!({ "type": name, "nullable": nullable, "precision": precision });
    let plain = |name: &str| json!({ "type": name, "nullable": nullable });
    match data_type {
        LogicalType::Char(length) => sized("CHAR", u64::from(*length)),
        LogicalType::VarChar(length) => sized("VARCHAR", u64::from(*length)),
        LogicalType::String => sized("VARCHAR", UNBOUNDED),
        LogicalType::Boolean => plain("BOOLEAN"),
        LogicalType::Binary(length) => sized("BINARY", u64::from(*length)),
        LogicalType::VarBinary(length) => sized("VARBINARY", u64::from(*length)),
        LogicalType::Bytes => sized("VARBINARY", UNBOUNDED),
        LogicalType::Decimal { precision, scale } => json!({
            "type": "DECIMAL", "nullable": nullable, "precision": precision, "scale": scale,
        }),
        LogicalType::TinyInt => plain("TINYINT"),
        LogicalType::SmallInt => plain("SMALLINT"),
        LogicalType::Int => plain("INTEGER"),
        LogicalType::BigInt => plain("BIGINT"),
        LogicalType::Float => plain("FLOAT"),
        LogicalType::Double => plain("DOUBLE"),
        LogicalType::Date => plain("DATE"),
        LogicalType::Time(precision) => precise("TIME_WITHOUT_TIME_ZONE", *precision),
        LogicalType::Timestamp(precision) => precise("TIMESTAMP_WITHOUT_TIME_ZONE", *precision),
        LogicalType::TimestampLtz(precision) => {
            precise("TIMESTAMP_WITH_LOCAL_TIME_ZONE", *precision)
        }
        LogicalType::Array(element) => json!({
            "type": "ARRAY", "nullable": nullable, "elementType": type_to_json(element, true),
        }),
        LogicalType::Map(key, value) => json!({
            "type": "MAP", "nullable": nullable,
            "keyType": type_to_json(key, true), "valueType": type_to_json(value, true),
        }),
        LogicalType::Row(fields) => {
            let field = |(name, kind): &(String, LogicalType)| {
                let field_type = type_to_json(kind, true);
                json!({ "name": name, "fieldType": field_type })
            };
            let fields: Vec<Value> = fields.iter().map(field).collect();
            json!({ "type": "ROW", "nullable": nullable, "fields": fields })
        }
    }
}

/// The column that a gateway described; `None` if it has a type that is not known here.
pub(crate) fn column_from_json(value: &Value) -> Option<Column> {
    let logical = value.get("logicalType")?;
    Some(Column {
        name: value.get("name")?.as_str()?.to_owned(),
        data_type: type_from_json(logical)?,
        nullable: logical.get("nullable")?.as_bool()?,
        comment: value.get("comment").and_then(Value::as_str).map(str::to_owned),
    })
}

fn type_from_json(value: &Value) -> Option<LogicalType> {
    let number = |key: &str| value.get(key).and_then(Value::as_u64);
    let length = || number("length").and_then(|length| u32::try_from(length).ok());
    let small = |key: &str| number(key).and_then(|number| u8::try_from(number).ok());
    let nested = |key: &str| Some(Box::new(type_from_json(value.get(key)?)?));
    Some(match value.get("type")?.as_str()? {
        "CHAR" => LogicalType::Char(length()?),
        "VARCHAR" if number("length") == Some(UNBOUNDED) => LogicalType::String,
        "VARCHAR" => LogicalType::VarChar(length()?),
        "BOOLEAN" => LogicalType::Boolean,
        "BINARY" => LogicalType::Binary(length()?),
        "VARBINARY" if number("length") == Some(UNBOUNDED) => LogicalType::Bytes,
        "VARBINARY" => LogicalType::VarBinary(length()?),
        "DECIMAL" => {
            LogicalType::Decimal { precision: small("precision")?, scale: small("scale")? }
        }
        "TINYINT" => LogicalType::TinyInt,
        "SMALLINT" => LogicalType::SmallInt,
        "INTEGER" => LogicalType::Int,
        "BIGINT" => LogicalType::BigInt,
        "FLOAT" => LogicalType::Float,
        "DOUBLE" => LogicalType::Double,
        "DATE" => LogicalType::Date,
        "TIME_WITHOUT_TIME_ZONE" => LogicalType::Time(small("precision")?),
        "TIMESTAMP_WITHOUT_TIME_ZONE" => LogicalType::Timestamp(small("precision")?),
        "TIMESTAMP_WITH_LOCAL_TIME_ZONE" => LogicalType::TimestampLtz(small("precision")?),
        "ARRAY" => LogicalType::Array(nested("elementType")?),
        "MAP" => LogicalType::Map(nested("keyType")?, nested("valueType")?),
        "ROW" => {
            let field = |field: &Value| {
                let name = field.get("name")?.as_str()?.to_owned();
                Some((name, type_from_json(field.get("fieldType")?)?))
            };
            let fields = value.get("fields")?.as_array()?;
            LogicalType::Row(fields.iter().map(field).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_the_way_to_the_client() {
        let row = LogicalType::Row(vec![("a".to_owned(), LogicalType::Int)]);
        for data_type in [
            LogicalType::Char(4),
            LogicalType::VarChar(10),
            LogicalType::String,
            LogicalType::Boolean,
            LogicalType::Binary(2),
            LogicalType::VarBinary(3),
            LogicalType::Bytes,
            LogicalType::Decimal { precision: 20, scale: 3 },
            LogicalType::TinyInt,
            LogicalType::SmallInt,
            LogicalType::Int,
            LogicalType::BigInt,
            LogicalType::Float,
            LogicalType::Double,
            LogicalType::Date,
            LogicalType::Time(3),
            LogicalType::Timestamp(6),
            LogicalType::TimestampLtz(3),
            LogicalType::Array(Box::new(LogicalType::Int)),
            LogicalType::Map(Box::new(LogicalType::String), Box::new(LogicalType::Int)),
            row,
        ] {
            let column = Column::new("c", data_type).not_null();
            assert_eq!(column_from_json(&column_to_json(&column)), Some(column));
        }
    }

    #[test]
    fn types_are_named_as_flink_names_them() {
        let column = Column::new("g", LogicalType::Decimal { precision: 10, scale: 2 });
        assert_eq!(
            column_to_json(&column).to_string(),
            r#"{"comment":null,"logicalType":{"nullable":true,"precision":10,"scale":2,"type":"DECIMAL"},"name":"g"}"#
        );
    }
}
