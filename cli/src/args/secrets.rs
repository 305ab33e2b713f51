//! Refuses secrets on the command line.

use anyhow::bail;
use clap::ArgMatches;
use clap::parser::ValueSource;
use firesteel_common::secret::{KafkaProperties, MongoUri};

use crate::settings;

/// Refuses secrets among the arguments, because every user of the machine can read them in the process list.
pub(crate) fn refuse(matches: &ArgMatches) -> anyhow::Result<()> {
    let matches = settings::deepest(matches);
    let by_flag = |id: &str| {
        matches.try_contains_id(id).unwrap_or(false)
            && matches.value_source(id) == Some(ValueSource::CommandLine)
    };
    if by_flag("mongodb_uri") {
        let uri = matches.get_one::<String>("mongodb_uri").map(String::as_str).unwrap_or_default();
        let uri = MongoUri::new(uri);
        if let Some(option) = uri.secret_option() {
            bail!(
                "--mongodb-uri holds the secret {option}, which every user of this machine can read in the process list; \
                 set FIRESTEEL_MONGODB_URI or mongodb_uri in the settings file instead"
            );
        }
        if uri.holds_password() {
            bail!(
                "--mongodb-uri holds a password, which every user of this machine can read in the process list; \
                 set FIRESTEEL_MONGODB_URI or mongodb_uri in the settings file instead"
            );
        }
    }
    for (id, variable) in [("token", "FIRESTEEL_TOKEN"), ("cluster_secret", "FIRESTEEL_CLUSTER_SECRET")] {
        if by_flag(id) {
            let flag = id.replace('_', "-");
            bail!(
                "--{flag} is a secret, which every user of this machine can read in the process list; name a file with \
                 --{flag}-file, or set {variable}"
            );
        }
    }
    if by_flag("kafka_properties") {
        let pairs = matches.get_many::<String>("kafka_properties").into_iter().flatten();
        for name in pairs.filter_map(|pair| pair.split_once('=')).map(|(name, _)| name.trim()) {
            if KafkaProperties::is_secret(name) {
                bail!(
                    "--kafka-property {name} is a secret, which every user of this machine can read in the process \
                     list; set FIRESTEEL_KAFKA_PROPERTIES or [kafka.properties] in the settings file instead"
                );
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{ClientSecurityArgs, KafkaArgs, MongoArgs};
    use clap::{Args as _, Command};

    /// A program with one subcommand that connects to both servers.
    fn program() -> Command {
        let role = MongoArgs::augment_args(KafkaArgs::augment_args(Command::new("role")));
        let role = ClientSecurityArgs::augment_args(role);
        Command::new("firesteel").subcommand(role)
    }

    fn refused(arguments: &[&str]) -> String {
        let matches = program().try_get_matches_from(arguments).expect("usage is right");
        refuse(&matches).expect_err("a secret").to_string()
    }

    #[test]
    fn a_secret_in_an_argument_is_refused_and_not_repeated() {
        let text = refused(&["firesteel", "role", "--mongodb-uri", "mongodb://me:hunter2@host"]);
        assert!(text.contains("FIRESTEEL_MONGODB_URI") && !text.contains("hunter2"), "{text}");
        let text = refused(&["firesteel", "role", "--token", "hunter2hunter2hunter2"]);
        assert!(text.contains("FIRESTEEL_TOKEN") && !text.contains("hunter2"), "{text}");
        for option in
            ["tlsCertificateKeyFilePassword=hunter2", "authMechanismProperties=AWS_SESSION_TOKEN:hunter2"]
        {
            let uri = format!("mongodb://h/?tls=true&{option}");
            let text = refused(&["firesteel", "role", "--mongodb-uri", &uri]);
            let name = option.split('=').next().unwrap_or_default();
            assert!(text.contains(name) && !text.contains("hunter2"), "{text}");
        }
        let text = refused(&["firesteel", "role", "--kafka-property", "sasl.password=hunter2"]);
        assert!(text.contains("sasl.password") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_password_is_told_from_what_looks_like_one() {
        for uri in
            ["mongodb://u:p@h", "mongodb://u:p/w@h", "mongodb://u:p?w@h", "mongodb://u:p@w@h/?a=b", "u:p@h"]
        {
            assert!(MongoUri::new(uri).holds_password(), "{uri}");
        }
        for uri in
            ["mongodb://h:1", "mongodb://me@h/?a=b:c", "mongodb://h:1/?appName=@a:b@", "mongodb://h:1?a=b"]
        {
            assert!(!MongoUri::new(uri).holds_password(), "{uri}");
        }
    }
}
