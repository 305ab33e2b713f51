//! `make bench`: the engine's speed against what a user would pick instead, side by side in one run.

fn main() {}
