//! Target `records`: see `firesteel_fuzz::records`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| firesteel_fuzz::records(bytes));
