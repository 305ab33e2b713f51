//! Target `routes`: see `firesteel_fuzz::routes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| firesteel_fuzz::routes(bytes));
