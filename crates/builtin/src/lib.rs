//! The connectors that need no server: `datagen` makes rows, `print` shows them, `blackhole` drops
//! them. Their options and output are Flink's.

mod blackhole;
mod datagen;
mod forgetful;
mod print;

pub use blackhole::BlackholeFactory;
pub use datagen::DatagenFactory;
pub use forgetful::forgetful_claim;
pub use print::PrintFactory;
