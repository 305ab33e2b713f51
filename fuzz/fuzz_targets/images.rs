//! Target `images`: see `firesteel_fuzz::images`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| firesteel_fuzz::images(bytes));
