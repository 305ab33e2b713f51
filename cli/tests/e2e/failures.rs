//! What a user gets for servers that are not there and settings that are none.

use crate::support::{Role, World, firesteel, output, stderr};
use std::net::TcpListener;
use std::time::{Duration, Instant};

/// An address where nothing listens.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").to_string()
}

/// `command` fails within 15 s (10 s of its own, the rest for a busy machine), and says each of `words`.
fn fails(command: std::process::Command, words: &[&str]) {
    let started = Instant::now();
    let ran = output(command);
    let said = stderr(&ran);
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert!(started.elapsed() < Duration::from_secs(15), "took {:?}: {said}", started.elapsed());
    for word in words {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
}

#[test]
fn an_unreachable_kafka_is_named_with_its_setting_and_the_role() {
    let address = nowhere();
    let mut command = firesteel(&["produce", "--images", "1"]);
    command.env("FIRESTEEL_KAFKA_BOOTSTRAP", &address);
    let names = ["--kafka-bootstrap", "FIRESTEEL_KAFKA_BOOTSTRAP", "kafka_bootstrap in the settings file"];
    fails(command, &[&[address.as_str(), "produce"], &names[..]].concat());
}

#[test]
fn an_unreachable_mongodb_is_named_with_its_setting() {
    let address = nowhere();
    let mut command = firesteel(&["report"]);
    command.env("FIRESTEEL_MONGODB_URI", format!("mongodb://me:hunter2@{address}"));
    fails(command, &[&address, "FIRESTEEL_MONGODB_URI"]);
    let mut command = firesteel(&["report"]);
    command.env("FIRESTEEL_MONGODB_URI", format!("mongodb://me:hunter2@{address}"));
    assert!(!stderr(&output(command)).contains("hunter2"), "a password in an error");
}

#[test]
fn a_statement_that_fails_names_the_setting_to_change() {
    let address = nowhere();
    let mut command = firesteel(&["sql", "-c", "SELECT count(*) FROM predictions"]);
    command.env("FIRESTEEL_MONGODB_URI", format!("mongodb://me:hunter2@{address}"));
    let names = ["--mongodb-uri", "FIRESTEEL_MONGODB_URI", "mongodb_uri in the settings file"];
    fails(command, &[&[address.as_str()], &names[..]].concat());
}

#[test]
fn a_seed_without_its_mongodb_says_so_and_ends() {
    let address = nowhere();
    let mut command = firesteel(&["seed", "--docs", "1"]);
    command.env("FIRESTEEL_MONGODB_URI", format!("mongodb://{address}"));
    fails(command, &[&address, "FIRESTEEL_MONGODB_URI", "seed"]);
}

#[test]
fn a_demo_without_its_mongodb_says_so_and_ends() {
    let Some(world) = World::new("no-mongodb") else { return };
    let address = nowhere();
    let mut command = world.firesteel(&["demo", "--images", "1"]);
    command.env("FIRESTEEL_MONGODB_URI", format!("mongodb://{address}"));
    fails(command, &[&address, "FIRESTEEL_MONGODB_URI", "demo"]);
}

#[test]
fn a_consumer_waits_for_its_servers_says_so_once_and_stops_when_asked() {
    let address = nowhere();
    let mut command = firesteel(&["consume-predictions"]);
    command
        .env("FIRESTEEL_KAFKA_BOOTSTRAP", nowhere())
        .env("FIRESTEEL_MONGODB_URI", format!("mongodb://{address}"));
    let mut role = Role::start(command);
    let line = role.wait_for("MongoDB");
    assert!(line.contains(&address) || role.said().contains(&address), "{line}");
    role.signal(15);
    assert_eq!(role.wait(Duration::from_secs(30)).code(), Some(0), "{}", role.said());
}

#[test]
fn an_unknown_setting_names_the_nearest() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("firesteel.toml"), "[kafka]\nbotstrap = 'x:1'\n").expect("a file");
    let mut command = firesteel(&["report"]);
    command.current_dir(folder.path());
    let ran = output(command);
    assert_eq!(ran.status.code(), Some(2));
    assert!(stderr(&ran).contains("did you mean kafka_bootstrap?"), "{}", stderr(&ran));

    let mut command = firesteel(&["report"]);
    command.env("FIRESTEEL_MONGODB_URL", "mongodb://localhost");
    let ran = output(command);
    assert_eq!(ran.status.code(), Some(2));
    assert!(stderr(&ran).contains("did you mean FIRESTEEL_MONGODB_URI?"), "{}", stderr(&ran));
}

#[cfg(unix)]
#[test]
fn a_settings_file_of_somebody_else_is_not_read() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("firesteel.toml");
    std::fs::write(&file, "[kafka]\nbotstrap = 'x:1'\n").expect("a file");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).expect("open to all");
    let mut command = firesteel(&["report"]);
    command.current_dir(folder.path());
    let ran = output(command);
    assert_eq!(ran.status.code(), Some(2));
    let told = stderr(&ran);
    assert!(told.contains("every user may write it") && told.contains("--config"), "{told}");
    // One that is named is meant.
    let mut command = firesteel(&["report", "--config", "firesteel.toml"]);
    command.current_dir(folder.path());
    assert!(stderr(&output(command)).contains("did you mean kafka_bootstrap?"));
}

#[test]
fn a_property_of_kafka_that_loads_code_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let evil = folder.path().join("evil.so");
    std::fs::write(&evil, "no library").expect("a file");
    let settings = format!("[kafka.properties]\n'plugin.library.paths' = '{}'\n", evil.display());
    std::fs::write(folder.path().join("firesteel.toml"), settings).expect("a file");
    for arguments in [&["produce", "--images", "1"][..], &["sql", "-c", "SELECT count(*) FROM images"]] {
        let mut command = firesteel(arguments);
        command.current_dir(folder.path()).env("FIRESTEEL_KAFKA_BOOTSTRAP", nowhere());
        fails(command, &["plugin.library.paths", "load code"]);
    }
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, environment, flag) = (nowhere(), nowhere(), nowhere());
    std::fs::write(folder.path().join("s.toml"), format!("kafka_bootstrap = '{file}'")).expect("a file");
    let run = |arguments: &[&str], variable: Option<&str>, expected: &str| {
        let mut command = firesteel(&["produce", "--images", "1", "--config", "s.toml"]);
        command.args(arguments).current_dir(folder.path());
        if let Some(value) = variable {
            command.env("FIRESTEEL_KAFKA_BOOTSTRAP", value);
        }
        fails(command, &[expected]);
    };
    run(&[], None, &file);
    run(&[], Some(&environment), &environment);
    run(&["--kafka-bootstrap", &flag], Some(&environment), &flag);
}

#[test]
fn wrong_weights_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("w.safetensors"), b"nonsense").expect("a file");
    let mut command =
        firesteel(&["inference-server", "--listen", "127.0.0.1:0", "--weights", "w.safetensors"]);
    command.current_dir(folder.path());
    fails(command, &["w.safetensors"]);
}

#[test]
fn processes_of_a_cluster_do_not_choose_a_precision_by_themselves() {
    for role in ["scheduler", "executor"] {
        fails(
            firesteel(&[role, "--precision", "auto"]),
            &["FIRESTEEL_INFERENCE_PRECISION", "several precisions"],
        );
    }
}

#[test]
fn a_taken_port_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    fails(firesteel(&["inference-server", "--listen", &address]), &[&address]);
    let health = firesteel(&["consume-images", "--health-listen", &address]);
    fails(health, &[&address, "FIRESTEEL_HEALTH_LISTEN"]);
}

#[test]
fn every_role_has_a_help_that_names_its_settings() {
    for role in [
        "demo",
        "produce",
        "inference-server",
        "consume-images",
        "consume-predictions",
        "report",
        "seed",
        "sql",
    ] {
        let ran = output(firesteel(&[role, "--help"]));
        assert!(ran.status.success());
        assert!(String::from_utf8_lossy(&ran.stdout).contains("FIRESTEEL_"), "{role}");
    }
}
