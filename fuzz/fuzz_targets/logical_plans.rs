//! Target `logical_plans`: see `firesteel_fuzz::logical_plans`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| firesteel_fuzz::logical_plans(bytes));
