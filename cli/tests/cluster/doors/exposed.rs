//! Ports that other machines reach, and the port for monitoring.

use std::process::Command;

use firesteel_testkit::{Role, binary, http, http_with};

use super::support::{BOB, SECRET, private};

fn firesteel(arguments: &[&str]) -> Command {
    binary(env!("CARGO_BIN_EXE_firesteel").as_ref(), arguments)
}

#[test]
fn a_port_for_other_machines_without_authentication_is_refused() {
    let anywhere = ["--bind-host", "0.0.0.0"];
    let free = ["--bind-port", "0"];
    let scheduler = [["scheduler"].as_slice(), &anywhere, &free].concat();
    let executor =
        [["executor", "--bind-grpc-port", "0", "--bind-health-port", "0"].as_slice(), &anywhere, &free]
            .concat();
    for arguments in [scheduler, executor] {
        let ended = firesteel(&arguments).output().expect("the binary starts");
        let told = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{told}");
        for setting in [
            "--insecure",
            "--cluster-secret-file",
            "FIRESTEEL_CLUSTER_SECRET",
            "--tokens-file",
            "--bind-host",
        ] {
            assert!(told.contains(setting), "{setting}: {told}");
        }
    }
    let mut trusted = firesteel(&["scheduler", "--bind-host", "0.0.0.0", "--bind-port", "0", "--insecure"]);
    trusted.env("FIRESTEEL_LOG_FORMAT", "json");
    let mut role = Role::start(trusted);
    role.wait_for("asks nobody who they are");
    role.wait_for_fields("scheduler is ready");
}

#[test]
fn users_without_a_secret_of_the_cluster_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let users = private(folder.path(), "users", &format!("bob reader {BOB}\n"));
    let ended =
        firesteel(&["scheduler", "--bind-port", "0", "--tokens-file", &users]).output().expect("it starts");
    let told = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && told.contains("--cluster-secret-file"), "{told}");
}

#[test]
fn a_secret_in_an_argument_is_refused() {
    for (arguments, variable) in [
        (["sql", "--token", SECRET], "FIRESTEEL_TOKEN"),
        (["scheduler", "--cluster-secret", SECRET], "FIRESTEEL_CLUSTER_SECRET"),
        (["executor", "--cluster-secret", SECRET], "FIRESTEEL_CLUSTER_SECRET"),
    ] {
        let ended = firesteel(&arguments).output().expect("the binary starts");
        let told = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success() && told.contains(variable) && !told.contains(SECRET), "{told}");
    }
    // Nor does the help repeat what the environment holds.
    let mut help = firesteel(&["scheduler", "--help"]);
    help.env("FIRESTEEL_CLUSTER_SECRET", SECRET);
    let help = help.output().expect("the binary starts");
    assert!(help.status.success() && !String::from_utf8_lossy(&help.stdout).contains(SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn monitoring_has_a_port_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let users = private(folder.path(), "users", &format!("bob reader {BOB}\n"));
    let mut command =
        firesteel(&["scheduler", "--bind-port", "0", "--bind-health-port", "0", "--tokens-file", &users]);
    command
        .args(["--open-metrics=false"])
        .env("FIRESTEEL_CLUSTER_SECRET", SECRET)
        .env("FIRESTEEL_LOG_FORMAT", "json");
    let mut role = Role::start(command);
    let fields = role.wait_for_fields("scheduler is ready");
    let address = |name: &str| fields[name].as_str().and_then(|text| text.parse().ok()).expect("an address");
    let (main, health) = (address("address"), address("health_address"));

    for path in ["/healthz", "/metrics", "/api/firesteel/cluster"] {
        assert_eq!(http(health, "GET", path).await.expect("an answer").status, 200, "{path}");
    }
    assert_eq!(http(health, "GET", "/readyz").await.expect("an answer").status, 503, "no executor is there");
    for path in ["/", "/api/jobs", "/api/firesteel/activity", "/api/executors", "/history/api/jobs"] {
        assert_eq!(http(health, "GET", path).await.expect("an answer").status, 404, "{path}");
    }
    let rebound = http_with(health, "GET", "/metrics", &[("Host", "evil.example")], &[]).await;
    assert_eq!(rebound.expect("an answer").status, 421);

    assert_eq!(http(main, "GET", "/healthz").await.expect("an answer").status, 200);
    for path in [
        "/metrics",
        "/",
        "/api/jobs",
        "/api/firesteel/cluster",
        "/api/firesteel/version",
        "/api/openapi.json",
    ] {
        let answer = http(main, "GET", path).await.expect("an answer");
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.body.contains("access.token"), "{answer:?}");
        let bearer = format!("Bearer {BOB}");
        let answer =
            http_with(main, "GET", path, &[("Authorization", &bearer)], &[]).await.expect("an answer");
        assert_eq!(answer.status, 200, "{path}");
    }
}
