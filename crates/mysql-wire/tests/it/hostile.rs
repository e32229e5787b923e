//! The fuzz targets as a property test: any bytes, and bytes that look like something, end in a value or an error.

#[path = "../../../../fuzz/src/lib.rs"]
#[expect(
    clippy::cast_possible_truncation,
    unreachable_pub,
    reason = "the targets make bytes of small numbers, and are linted as a crate of their own"
)]
mod targets;

use proptest::prelude::*;

/// Bytes as they occur: small numbers, marks of all bits, and any.
fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => 0_u8..32, 1 => Just(0xff), 1 => 160_u8..172, 3 => any::<u8>()];
    prop::collection::vec(byte, 0..most)
}

proptest! {
    #[test]
    fn packets_end_in_a_value_or_an_error(data in bytes(300)) {
        targets::packets(&data);
    }

    #[test]
    fn events_end_in_a_value_or_an_error(data in bytes(600)) {
        targets::events(&data);
    }

    #[test]
    fn rows_end_in_a_value_or_an_error(data in bytes(300)) {
        targets::rows(&data);
    }

    #[test]
    fn documents_end_in_a_value_or_an_error(data in bytes(200)) {
        targets::jsonb(&data);
    }
}
