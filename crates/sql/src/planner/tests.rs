//! Tests come with the connectors of the test module.
