//! Target `physical_plans`: see `firesteel_fuzz::physical_plans`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| firesteel_fuzz::physical_plans(bytes));
