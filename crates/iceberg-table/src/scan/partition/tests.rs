use iceberg::spec::{NestedField, UnboundPartitionSpec};

use super::*;

fn schema(kind: PrimitiveType) -> Schema {
    let field = NestedField::optional(1, "x", Type::Primitive(kind));
    Schema::builder().with_fields([field.into()]).build().unwrap()
}

fn spec(schema: &Schema, transform: Transform) -> PartitionSpec {
    UnboundPartitionSpec::builder()
        .add_partition_field(1, "p", transform)
        .unwrap()
        .build()
        .bind(schema.clone())
        .unwrap()
}

/// The range of `x` in a partition.
fn range(kind: PrimitiveType, transform: Transform, value: Literal) -> String {
    let schema = schema(kind);
    let partition = Struct::from_iter([Some(value)]);
    let bounds = of_partition(&spec(&schema, transform), &schema, &partition);
    match bounds.as_slice() {
        [] => "anything".to_owned(),
        [bound] => {
            assert!(!bound.may_be_null);
            match &bound.values {
                Known::Range { lower, upper } => format!("{} .. {}", show(lower), show(upper)),
                Known::Buckets { count, lower, upper } => {
                    format!("bucket {lower} .. {upper} of {count}")
                }
            }
        }
        more => panic!("{more:?}"),
    }
}

fn show(value: &Option<Value>) -> String {
    match value {
        None => "?".to_owned(),
        Some(Value::Number(number, _)) => number.to_string(),
        Some(Value::Decimal(digits, scale)) => format!("{digits}e-{scale}"),
        Some(Value::Text(text)) => text.clone(),
        Some(other) => format!("{other:?}"),
    }
}

#[test]
fn partitions_stand_for_ranges_of_their_source() {
    let day_micros = 86_400_000_000_i64;
    let timestamp = PrimitiveType::Timestamp;
    let date = PrimitiveType::Date;
    for (kind, transform, value, expected) in [
        (PrimitiveType::Long, Transform::Identity, Literal::long(5), "5 .. 5".to_owned()),
        (PrimitiveType::Int, Transform::Truncate(10), Literal::int(-10), "-10 .. -1".to_owned()),
        (
            PrimitiveType::String,
            Transform::Truncate(2),
            Literal::string("ab"),
            "ab .. ac".to_owned(),
        ),
        (
            PrimitiveType::Long,
            Transform::Bucket(8),
            Literal::int(3),
            "bucket 3 .. 3 of 8".to_owned(),
        ),
        (date.clone(), Transform::Year, Literal::int(54), "19723 .. 20088".to_owned()),
        (date.clone(), Transform::Month, Literal::int(1), "31 .. 58".to_owned()),
        (date.clone(), Transform::Month, Literal::int(25), "761 .. 789".to_owned()),
        (date, Transform::Day, Literal::date(3), "3 .. 3".to_owned()),
        (
            timestamp.clone(),
            Transform::Day,
            Literal::date(2),
            format!("{} .. {}", 2 * day_micros, 3 * day_micros - 1),
        ),
        (
            timestamp.clone(),
            Transform::Hour,
            Literal::int(25),
            format!("{} .. {}", 25 * day_micros / 24, 26 * day_micros / 24 - 1),
        ),
        // Before 1970 the unit before may be in it, too.
        (timestamp, Transform::Day, Literal::date(-1), format!("{} .. -1", -2 * day_micros)),
        (PrimitiveType::Long, Transform::Void, Literal::long(1), "anything".to_owned()),
    ] {
        let text = format!("{transform} of {kind}");
        assert_eq!(range(kind, transform, value), expected, "{text}");
    }
}

#[test]
fn the_partition_of_null_holds_nothing_else() {
    let schema = schema(PrimitiveType::Long);
    let null = Struct::from_iter([None]);
    for transform in [Transform::Identity, Transform::Bucket(4), Transform::Truncate(10)] {
        let bounds = of_partition(&spec(&schema, transform), &schema, &null);
        assert_eq!(bounds.len(), 1);
        assert!(bounds[0].may_be_null && !bounds[0].may_be_value);
    }
    // A field that was removed from the spec is NULL everywhere and says nothing.
    assert_eq!(of_partition(&spec(&schema, Transform::Void), &schema, &null), []);
}

#[test]
fn summaries_of_manifests_are_read_with_the_type_of_the_partition() {
    let schema = schema(PrimitiveType::Timestamp);
    let spec = spec(&schema, Transform::Day);
    let bytes = |day: i32| Some(iceberg::spec::ByteBuf::from(day.to_le_bytes().to_vec()));
    let summary = FieldSummary {
        contains_null: true,
        contains_nan: None,
        lower_bound: bytes(1),
        upper_bound: bytes(2),
    };
    let bounds = of_manifest(&spec, &schema, &[summary]);
    let day = 86_400_000_000;
    let known = Known::Range {
        lower: Some(Value::Number(day, Unit::TimestampMicros)),
        upper: Some(Value::Number(3 * day - 1, Unit::TimestampMicros)),
    };
    assert_eq!(bounds[0].values, known);
    assert!(bounds[0].may_be_null && bounds[0].may_be_value && !bounds[0].may_be_nan);
    let damaged = FieldSummary {
        contains_null: false,
        contains_nan: None,
        lower_bound: Some(iceberg::spec::ByteBuf::from(vec![1])),
        upper_bound: bytes(2),
    };
    let bounds = of_manifest(&spec, &schema, &[damaged]);
    assert!(matches!(&bounds[0].values, Known::Range { lower: None, upper: Some(_) }));
    let nulls = FieldSummary { contains_null: true, ..FieldSummary::default() };
    assert!(!of_manifest(&spec, &schema, &[nulls])[0].may_be_value);
}

#[test]
fn months_are_counted_in_the_gregorian_calendar() {
    for (month, day) in [(0, 0), (1, 31), (2, 59), (12, 365), (26, 790), (-1, -31), (361, 10_988)] {
        assert_eq!(first_day(month), Some(day), "month {month}");
    }
    assert_eq!(first_day(i128::MAX), None);
}
