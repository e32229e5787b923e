use datafusion::common::Column;
use datafusion::logical_expr::{Expr, col, lit};

use super::*;
use crate::scan::value::Unit;

const FIELD: i32 = 7;

fn fields() -> FieldIds {
    FieldIds::from([("x".to_owned(), FIELD)])
}

fn bounds(lower: Option<Value>, upper: Option<Value>) -> ColumnBounds {
    ColumnBounds {
        field_id: FIELD,
        values: Known::Range { lower, upper },
        may_be_null: false,
        may_be_value: true,
        may_be_nan: false,
    }
}

fn numbers(lower: i128, upper: i128) -> ColumnBounds {
    bounds(Some(Value::Number(lower, Unit::One)), Some(Value::Number(upper, Unit::One)))
}

fn floats(lower: f64, upper: f64, may_be_nan: bool) -> ColumnBounds {
    let known = bounds(Some(Value::Float(lower)), Some(Value::Float(upper)));
    ColumnBounds { may_be_nan, ..known }
}

fn texts(lower: &str, upper: &str) -> ColumnBounds {
    bounds(Some(Value::Text(lower.to_owned())), Some(Value::Text(upper.to_owned())))
}

fn may(filter: Expr, bounds: &ColumnBounds) -> bool {
    Predicate::from_filters([&filter], &fields()).may_match(std::slice::from_ref(bounds))
}

fn x() -> Expr {
    col("x")
}

#[test]
fn numbers_are_held_against_both_bounds() {
    let known = numbers(10, 20);
    for (filter, expected) in [
        (x().eq(lit(10_i64)), true),
        (x().eq(lit(9_i64)), false),
        (x().eq(lit(21_i64)), false),
        (x().not_eq(lit(10_i64)), true),
        (x().lt(lit(10_i64)), false),
        (x().lt(lit(11_i64)), true),
        (x().lt_eq(lit(10_i64)), true),
        (x().gt(lit(20_i64)), false),
        (x().gt_eq(lit(20_i64)), true),
        (lit(20_i64).lt(x()), false),
        (lit(20_i64).lt_eq(x()), true),
        (x().between(lit(21_i64), lit(30_i64)), false),
        (x().not_between(lit(10_i64), lit(20_i64)), false),
        (x().not_between(lit(11_i64), lit(20_i64)), true),
        (x().in_list(vec![lit(1_i64), lit(15_i64)], false), true),
        (x().in_list(vec![lit(1_i64), lit(25_i64)], false), false),
        (x().in_list(vec![lit(15_i64)], true), true),
        (x().is_null(), false),
        (x().is_not_null(), true),
    ] {
        assert_eq!(may(filter.clone(), &known), expected, "{filter}");
    }
    let one = numbers(5, 5);
    assert!(!may(x().not_eq(lit(5_i64)), &one));
    assert!(!may(x().in_list(vec![lit(5_i64)], true), &one));
    // The same type as the column's, in another width.
    assert!(!may(x().eq(lit(4_i8)), &one));
}

#[test]
fn negation_is_pushed_down() {
    let known = numbers(10, 20);
    for (filter, expected) in [
        (!x().lt(lit(30_i64)), false),
        (!x().gt_eq(lit(10_i64)), false),
        (!(x().lt(lit(5_i64)).or(x().gt_eq(lit(8_i64)))), false),
        (!(x().lt(lit(5_i64)).and(x().gt(lit(8_i64)))), true),
        (!x().is_not_null(), false),
        (!x().is_null(), true),
        (!x().in_list(vec![lit(5_i64)], false), true),
    ] {
        assert_eq!(may(filter.clone(), &known), expected, "{filter}");
    }
}

#[test]
fn what_is_not_known_may_match() {
    let known = numbers(10, 20);
    for filter in [
        (x() + lit(1_i64)).eq(lit(0_i64)),
        Expr::Column(Column::from_name("y")).eq(lit(0_i64)),
        x().eq(lit("text")),
        x().eq(Expr::Literal(ScalarValue::Int64(None), None)),
        x().in_list(vec![lit(1_i64), Expr::Literal(ScalarValue::Int64(None), None)], false),
    ] {
        assert!(may(filter.clone(), &known), "{filter}");
    }
    assert!(may(x().eq(lit(5_i64)), &bounds(None, None)));
    assert!(!may(x().eq(lit(5_i64)), &bounds(Some(Value::Number(6, Unit::One)), None)));
    // Bounds of days do not speak about numbers.
    let days = bounds(Some(Value::Number(6, Unit::Day)), Some(Value::Number(7, Unit::Day)));
    assert!(may(x().eq(lit(5_i64)), &days));
    assert!(!may(lit(false), &known));
    assert!(may(lit(true), &known));
}

#[test]
fn nan_is_greater_than_all_bounds() {
    let without = floats(1.0, 2.0, false);
    let with = floats(1.0, 2.0, true);
    assert!(!may(x().gt(lit(2.0)), &without));
    assert!(may(x().gt(lit(2.0)), &with));
    assert!(may(x().gt_eq(lit(3.0)), &with));
    assert!(!may(x().lt(lit(1.0)), &with));
    assert!(!may(x().eq(lit(3.0)), &with));
    assert!(may(x().eq(lit(f64::NAN)), &without));
    let one = floats(5.0, 5.0, true);
    assert!(may(x().not_eq(lit(5.0)), &one));
}

#[test]
fn the_sign_of_a_zero_bound_is_not_trusted() {
    let zero = floats(0.0, 0.0, false);
    assert!(may(x().lt(lit(0.0)), &zero));
    assert!(may(x().gt(lit(-0.0)), &zero));
    assert!(may(x().not_eq(lit(0.0)), &zero));
    assert!(!may(x().lt(lit(-0.5)), &zero));
}

#[test]
fn cut_bounds_of_texts_are_no_values() {
    // The values "abcdef" and "abczzz", cut to three letters: the upper bound is raised.
    let known = texts("abc", "abd");
    assert!(may(x().eq(lit("abcdef")), &known));
    assert!(may(x().gt(lit("abczz")), &known));
    assert!(!may(x().gt(lit("abd")), &known));
    assert!(!may(x().lt(lit("abc")), &known));
    for (pattern, expected) in [
        ("abc%", true),
        ("ab%", true),
        ("abcdefgh%", true),
        ("abe%", false),
        ("aa%", false),
        ("b%", false),
        ("%x", true),
        ("ab_", true),
        // What follows a backslash is no prefix.
        ("a\\%b%", true),
    ] {
        assert_eq!(may(x().like(lit(pattern)), &known), expected, "{pattern}");
    }
    assert!(may(x().not_like(lit("abc%")), &known));
    assert!(may(x().ilike(lit("ABC%")), &known));
}

#[test]
fn nulls_match_no_comparison() {
    let nulls = ColumnBounds { may_be_null: true, may_be_value: false, ..bounds(None, None) };
    assert!(!may(x().eq(lit(5_i64)), &nulls));
    assert!(!may(x().not_eq(lit(5_i64)), &nulls));
    assert!(!may(x().is_not_null(), &nulls));
    assert!(may(x().is_null(), &nulls));
    assert!(!may(x().like(lit("a%")), &nulls));
    assert!(!may(x(), &nulls));
    assert!(!may(!x(), &nulls));
}

#[test]
fn buckets_exclude_values_of_other_buckets() {
    // Iceberg's specification: the hash of 34 is 2017239379, of "iceberg" 1210000089.
    let bucket = |value: i128| ColumnBounds {
        values: Known::Buckets { count: 100, lower: value, upper: value },
        ..bounds(None, None)
    };
    assert!(may(x().eq(lit(34_i64)), &bucket(79)));
    assert!(!may(x().eq(lit(34_i64)), &bucket(78)));
    assert!(may(x().eq(lit(34_i32)), &bucket(79)));
    assert!(may(x().eq(lit("iceberg")), &bucket(89)));
    assert!(!may(x().eq(lit("iceberg")), &bucket(88)));
    assert!(may(x().gt(lit(34_i64)), &bucket(1)));
    assert!(!may(x().in_list(vec![lit(34_i64)], false), &bucket(78)));
}
