//! See `packets` in `src/lib.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shardlake_fuzz::packets(data));
