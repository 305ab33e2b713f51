//! Layers the settings: flags, then environment, then a TOML file, then defaults.
//!
//! There is one list of settings: the arguments of the command line. An argument that names an environment
//! variable `FIRESTEEL_X_Y` is a setting, and its key in the file is `x_y`, also written as `y` in a table
//! `[x]`. Clap itself lets flags win over the environment; what the file says is laid under both as the
//! argument's default. A name that is no setting is an error, in the file as in the environment, with the
//! nearest name that is one: a misspelt setting must not silently mean its default.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, bail};
use clap::{ArgMatches, Command};
use firesteel_common::suggest::nearest;

/// What every setting's environment variable starts with.
const PREFIX: &str = "FIRESTEEL_";
/// Prefixes of variables that belong to scripts and tests, not to the binary.
const OTHERS: [&str; 3] = ["FIRESTEEL_DEV_", "FIRESTEEL_TEST_", "FIRESTEEL_BENCH_"];
/// Settings that had another name: the former one still means the same, in the environment and in a settings file.
const RENAMED: [(&str, &str); 1] = [("FIRESTEEL_WEIGHTS", "FIRESTEEL_MODEL")];
/// The settings file that is read where it exists and no other one is named.
pub(crate) const DEFAULT_FILE: &str = "firesteel.toml";

/// Every setting's environment variable, over all subcommands.
pub(crate) fn names(command: &Command) -> BTreeSet<String> {
    let own = command.get_arguments().filter_map(|argument| argument.get_env());
    let own = own.map(|name| name.to_string_lossy().into_owned());
    own.chain(command.get_subcommands().flat_map(names)).collect()
}

/// The key in the settings file of the setting with this environment variable.
pub(crate) fn key(name: &str) -> String {
    name.trim_start_matches(PREFIX).to_lowercase()
}

/// Refuses environment variables that look like settings and are none.
pub(crate) fn check_environment(
    known: &BTreeSet<String>,
    variables: impl Iterator<Item = String>,
) -> anyhow::Result<()> {
    for name in variables {
        let foreign = !name.starts_with(PREFIX)
            || OTHERS.iter().any(|prefix| name.starts_with(prefix))
            || is_service_link(&name);
        if !foreign && !known.contains(today(&name)) {
            bail!(
                "unknown setting {name} in the environment{}",
                suggestion(&name, known, |known| known.to_owned())
            );
        }
    }
    Ok(())
}

/// The name that a setting has today.
fn today(name: &str) -> &str {
    RENAMED.iter().find(|(former, _)| *former == name).map_or(name, |(_, today)| today)
}

/// Lays what the environment says under the former name of a setting over the file's layer.
pub(crate) fn with_former_names(mut layer: Layer, variable: impl Fn(&str) -> Option<String>) -> Layer {
    for (former, today) in RENAMED {
        if let Some(value) = variable(former) {
            layer.insert(today.to_owned(), vec![value]);
        }
    }
    layer
}

/// Kubernetes describes a Service named `firesteel-x` to every pod by variables such as
/// `FIRESTEEL_X_SERVICE_HOST` and `FIRESTEEL_X_PORT_50060_TCP_ADDR`, which nobody misspelt.
fn is_service_link(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || ["_TCP", "_UDP"].iter().any(|protocol| name.contains("_PORT_") && name.contains(protocol))
}

/// Refuses a settings file that was found and not named, where another user owns it or may write it: settings decide which
/// servers get the passwords of the environment.
#[cfg(unix)]
pub(crate) fn check_owner(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::MetadataExt as _;

    let of = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    if let Some(why) = distrusted(of.uid(), of.gid(), of.mode(), user, group) {
        bail!(
            "the settings file {} in the current folder is not read: {why}; name it with --config where it is meant",
            path.display()
        );
    }
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn check_owner(_: &Path) -> anyhow::Result<()> {
    Ok(())
}

/// Why a file of this owner, group and mode is not one of `user`'s own. Many systems give each user a group of its own, which
/// may write.
#[cfg(unix)]
fn distrusted(owner: u32, of_group: u32, mode: u32, user: u32, group: u32) -> Option<&'static str> {
    match mode {
        _ if owner != user && owner != 0 => Some("another user owns it"),
        mode if mode & 0o002 != 0 => Some("every user may write it"),
        mode if mode & 0o020 != 0 && of_group != group => Some("a group of other users may write it"),
        _ => None,
    }
}

/// The arguments of the subcommand that runs, however deep it stands.
pub(crate) fn deepest(mut matches: &ArgMatches) -> &ArgMatches {
    while let Some((_, inner)) = matches.subcommand() {
        matches = inner;
    }
    matches
}

/// The contents of a settings file: the values of each setting, by its environment variable.
pub(crate) type Layer = BTreeMap<String, Vec<String>>;

/// Reads the settings file at `path`.
pub(crate) fn read(path: &Path, known: &BTreeSet<String>) -> anyhow::Result<Layer> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the settings file {} (--config)", path.display()))?;
    parse(&text, known).with_context(|| format!("in the settings file {}", path.display()))
}

fn parse(text: &str, known: &BTreeSet<String>) -> anyhow::Result<Layer> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        // The error's own text quotes the line, which may hold a password.
        let line =
            error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        anyhow::anyhow!("line {line} is not TOML: {}", error.message())
    })?;
    let mut layer = Layer::new();
    flatten("", &table, known, &mut layer)?;
    Ok(layer)
}

fn flatten(
    prefix: &str,
    table: &toml::Table,
    known: &BTreeSet<String>,
    layer: &mut Layer,
) -> anyhow::Result<()> {
    for (key, value) in table {
        let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}_{key}") };
        let name = format!("{PREFIX}{}", key.to_uppercase().replace(['-', '.'], "_"));
        let name = today(&name).to_owned();
        // `[scheduler]` holds the settings of `firesteel scheduler`; `scheduler = "…"` names one to connect to.
        let holds_others =
            value.is_table() && known.iter().any(|known| known.starts_with(&format!("{name}_")));
        if known.contains(&name) && !holds_others {
            if layer.insert(name, values(&key, value)?).is_some() {
                bail!("setting {key} is given twice");
            }
        } else if let toml::Value::Table(inner) = value {
            flatten(&key, inner, known, layer)?;
        } else {
            bail!("unknown setting {key}{}", suggestion(&name, known, self::key));
        }
    }
    Ok(())
}

fn values(key: &str, value: &toml::Value) -> anyhow::Result<Vec<String>> {
    Ok(match value {
        toml::Value::String(text) => vec![text.clone()],
        toml::Value::Integer(number) => vec![number.to_string()],
        toml::Value::Float(number) => vec![number.to_string()],
        toml::Value::Boolean(truth) => vec![truth.to_string()],
        toml::Value::Array(items) => {
            let mut all = Vec::new();
            for item in items {
                all.extend(values(key, item)?);
            }
            all
        }
        toml::Value::Table(pairs) => {
            let mut all = Vec::new();
            for (name, value) in pairs {
                all.extend(values(key, value)?.into_iter().map(|value| format!("{name}={value}")));
            }
            all
        }
        toml::Value::Datetime(_) => bail!("setting {key} is a date: no setting takes one"),
    })
}

/// `; did you mean X?` with the most similar known name, where one is similar enough.
fn suggestion(name: &str, known: &BTreeSet<String>, show: impl Fn(&str) -> String) -> String {
    // All names share the prefix, so it is left out of the comparison.
    let names = known.iter().map(|known| known.trim_start_matches(PREFIX));
    match nearest(name.trim_start_matches(PREFIX), names) {
        Some(nearest) => format!("; did you mean {}?", show(&format!("{PREFIX}{nearest}"))),
        None => "; `firesteel help` and each subcommand's --help list the settings".to_owned(),
    }
}

/// Leaves out of the file's layer what another variable of the environment says: a secret may stand in `FIRESTEEL_X` or in the file
/// that `FIRESTEEL_X_FILE` names.
pub(crate) fn without_twins(mut layer: Layer, is_set: impl Fn(&str) -> bool) -> Layer {
    layer.retain(|name, _| {
        let twin = name.strip_suffix("_FILE").map_or_else(|| format!("{name}_FILE"), str::to_owned);
        !is_set(&twin)
    });
    layer
}

/// Makes the values of the file the defaults of the arguments of `command` and its subcommands.
pub(crate) fn underlay(command: Command, layer: &Layer) -> Command {
    let ids: Vec<_> = command
        .get_arguments()
        .filter_map(|argument| {
            Some((argument.get_id().clone(), argument.get_env()?.to_string_lossy().into_owned()))
        })
        .collect();
    let mut command = command;
    for (id, name) in ids {
        if let Some(values) = layer.get(&name) {
            // --help shows defaults, and a value of the file may be a secret.
            command = command
                .mut_arg(id, |argument| argument.default_values(values.clone()).hide_default_value(true));
        }
    }
    let children: Vec<_> = command.get_subcommands().map(|child| child.get_name().to_owned()).collect();
    for child in children {
        command = command.mut_subcommand(child, |child| underlay(child, layer));
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> BTreeSet<String> {
        ["FIRESTEEL_KAFKA_BOOTSTRAP", "FIRESTEEL_KAFKA_PROPERTIES", "FIRESTEEL_MONGODB_URI"]
            .map(str::to_owned)
            .into()
    }

    #[test]
    fn a_secret_of_the_environment_wins_over_the_file_that_a_settings_file_names() {
        let layer = |name: &str| Layer::from([(name.to_owned(), vec!["x".to_owned()])]);
        for (in_file, in_environment, stays) in [
            ("FIRESTEEL_TOKEN_FILE", "FIRESTEEL_TOKEN", false),
            ("FIRESTEEL_TOKEN", "FIRESTEEL_TOKEN_FILE", false),
            ("FIRESTEEL_TOKEN_FILE", "FIRESTEEL_CLUSTER_SECRET", true),
            ("FIRESTEEL_TOKENS_FILE", "FIRESTEEL_TOKEN", true),
        ] {
            let left = without_twins(layer(in_file), |name| name == in_environment);
            assert_eq!(!left.is_empty(), stays, "{in_file} {in_environment}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_was_found_is_this_users_own() {
        for (owner, group, mode, trusted) in [
            (7, 7, 0o100_600, true),
            (7, 7, 0o100_664, true),
            (0, 0, 0o100_644, true),
            (8, 7, 0o100_644, false),
            (7, 9, 0o100_664, false),
            (7, 7, 0o100_666, false),
            (0, 0, 0o100_664, false),
        ] {
            assert_eq!(distrusted(owner, group, mode, 7, 7).is_none(), trusted, "{owner} {group} {mode:o}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(DEFAULT_FILE);
        std::fs::write(&file, "").expect("a file");
        check_owner(&file).expect("it is ours");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        std::fs::set_permissions(&file, open).expect("open to all");
        let told = check_owner(&file).expect_err("anybody may write it").to_string();
        assert!(told.contains("--config") && told.contains("every user"), "{told}");
    }

    #[test]
    fn flat_and_nested_keys_are_the_same_setting() {
        let flat = parse("kafka_bootstrap = 'a:1'", &known()).expect("flat");
        let nested = parse("[kafka]\nbootstrap = 'a:1'", &known()).expect("nested");
        assert_eq!(flat, nested);
        assert_eq!(flat["FIRESTEEL_KAFKA_BOOTSTRAP"], ["a:1"]);
    }

    #[test]
    fn a_table_may_have_the_name_of_a_setting() {
        let known = ["FIRESTEEL_SCHEDULER", "FIRESTEEL_SCHEDULER_BIND_PORT"].map(str::to_owned).into();
        let layer = parse("[scheduler]\nbind_port = 7", &known).expect("a table");
        assert_eq!(layer["FIRESTEEL_SCHEDULER_BIND_PORT"], ["7"]);
        let layer = parse("scheduler = 'df://a'", &known).expect("a setting");
        assert_eq!(layer["FIRESTEEL_SCHEDULER"], ["df://a"]);
    }

    #[test]
    fn a_table_becomes_pairs() {
        let layer = parse("[kafka.properties]\n'security.protocol' = 'SSL'", &known()).expect("pairs");
        assert_eq!(layer["FIRESTEEL_KAFKA_PROPERTIES"], ["security.protocol=SSL"]);
    }

    #[test]
    fn an_unknown_key_names_its_nearest() {
        let error = parse("[kafka]\nbotstrap = 'a:1'", &known()).expect_err("unknown").to_string();
        assert_eq!(error, "unknown setting kafka_botstrap; did you mean kafka_bootstrap?");
        let error = parse("colour = 'red'", &known()).expect_err("unknown").to_string();
        assert!(error.starts_with("unknown setting colour; `firesteel help`"), "{error}");
    }

    #[test]
    fn a_former_name_of_a_setting_means_the_same() {
        let known = BTreeSet::from(["FIRESTEEL_MODEL".to_owned()]);
        let model = |value: &str| Layer::from([("FIRESTEEL_MODEL".to_owned(), vec![value.to_owned()])]);
        assert_eq!(parse("weights = 'a'", &known).expect("a setting"), model("a"));
        let error = parse("weights = 'a'\nmodel = 'b'", &known).expect_err("twice").to_string();
        assert!(error.ends_with("is given twice"), "{error}");
        check_environment(&known, ["FIRESTEEL_WEIGHTS".to_owned()].into_iter()).expect("a setting");
        let set = |name: &str| (name == "FIRESTEEL_WEIGHTS").then(|| "c".to_owned());
        assert_eq!(with_former_names(model("a"), set), model("c"), "the environment wins over the file");
        assert_eq!(with_former_names(model("a"), |_| None), model("a"));
    }

    #[test]
    fn a_key_given_twice_is_an_error() {
        let error = parse("kafka_bootstrap = 'a'\n[kafka]\nbootstrap = 'b'", &known()).expect_err("twice");
        assert_eq!(error.to_string(), "setting kafka_bootstrap is given twice");
    }

    #[test]
    fn a_broken_file_does_not_quote_its_line() {
        let error =
            parse("\nmongodb_uri = mongodb://u:secret@h", &known()).expect_err("no quotes").to_string();
        assert!(error.contains("line 2") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn a_misspelt_variable_is_an_error_and_a_foreign_one_is_not() {
        let variables = [
            "HOME",
            "FIRESTEEL_DEV_DIR",
            "FIRESTEEL_TEST_X",
            "FIRESTEEL_MONGODB_URI",
            "FIRESTEEL_INFERENCE_SERVICE_HOST",
            "FIRESTEEL_INFERENCE_SERVICE_PORT_GRPC",
            "FIRESTEEL_INFERENCE_PORT",
            "FIRESTEEL_INFERENCE_PORT_50060_TCP_ADDR",
        ]
        .map(str::to_owned);
        check_environment(&known(), variables.into_iter()).expect("all fine");
        let error = check_environment(&known(), ["FIRESTEEL_MONGO_URI".to_owned()].into_iter())
            .expect_err("misspelt");
        assert_eq!(
            error.to_string(),
            "unknown setting FIRESTEEL_MONGO_URI in the environment; did you mean FIRESTEEL_MONGODB_URI?"
        );
    }
}
