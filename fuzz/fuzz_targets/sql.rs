//! Target `sql`: see `firesteel_fuzz::sql`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| firesteel_fuzz::sql(bytes));
