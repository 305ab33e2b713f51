//! Target `options`: see `firesteel_fuzz::options`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| firesteel_fuzz::options(bytes));
