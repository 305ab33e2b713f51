//! Target `shuffles`: see `firesteel_fuzz::shuffles`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| firesteel_fuzz::shuffles(bytes));
