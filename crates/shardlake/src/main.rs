//! The `shardlake` binary.

fn main() {}
