//! Three seeds with few images, as `make test` and CI run them: everything under faults, and the oracle has no finding.

#![allow(clippy::expect_used, clippy::panic, reason = "a test")]

use firesteel_testkit::Services;
use std::path::Path;
use std::process::{Command, Stdio};

/// What `dev/services paths` says where this machine has all by Docker.
const CANNOT: i32 = 3;

/// Whether this machine can run three brokers and a replica set of its own; says so where it cannot.
fn can_run_servers() -> bool {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../services");
    let ran = Command::new(program).arg("paths").stdin(Stdio::null()).output().expect("dev/services starts");
    let said = String::from_utf8_lossy(&ran.stderr);
    if ran.status.code() == Some(CANNOT) && std::env::var("CI").as_deref() != Ok("true") {
        eprintln!("SKIPPED: everything under faults: {said}");
        return false;
    }
    assert!(ran.status.success(), "dev/services paths: {said}");
    true
}

#[test]
fn three_seeds_count_every_image_once() {
    if Services::from_env().is_none() || !can_run_servers() {
        return;
    }
    let harness = Path::new(env!("CARGO_BIN_EXE_firesteel-chaos"));
    // `cargo test --workspace` builds it, for the tests of its own crate.
    let firesteel = harness.with_file_name("firesteel");
    assert!(firesteel.exists(), "{} is not there: cargo build --workspace", firesteel.display());
    let out = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(harness);
    command.args([
        "many",
        "--seeds",
        "3",
        "--first-seed",
        "1",
        "--images",
        "600",
        "--faults",
        "8",
        "--seconds",
        "15",
    ]);
    // A debug build on a busy machine starts slowly.
    command.args(["--longest", "8", "--ready-within", "30", "--out"]).arg(out.path());
    command.arg("--firesteel").arg(firesteel).stdin(Stdio::null());
    let ran = command.output().expect("the harness starts");
    let (told, said) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{told}\n{said}");
    println!("{told}");
}
