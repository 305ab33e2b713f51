//! `firesteel make-credentials`: an authority for certificates, tokens for users and for those who send images, and the secret of a
//! cluster, made where they are missing.
//!
//! With `--dir` they are files, with `--kubernetes` Secrets of the pod's own namespace. What is there is never changed, so that
//! the command may run before every start. No value is printed.

use std::fs::{self, DirBuilder};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use firesteel_common::access::{Role, Secret};
use serde_json::{Map, Value, json};
use url::Url;

use crate::certificates::Authority;
use crate::context::{Context, Outcome};
use crate::kubernetes::Api;

/// The users whose tokens are made. `report` and `consume-images` are the project's own.
const USERS: [(&str, Role); 5] = [
    ("admin", Role::Admin),
    ("writer", Role::Writer),
    ("reader", Role::Reader),
    ("report", Role::Reader),
    ("consume-images", Role::Reader),
];

/// Whose token for the door for images is made. One who may send images need not be able to write by SQL, so it has a file of its own.
const SENDER: &str = "sender";

/// What to make, and where it goes.
#[derive(Debug, Args)]
pub(crate) struct MakeCredentialsArgs {
    /// The folder for the files, in `ca`, `access` and `ingest` below it
    #[arg(long, value_name = "DIR", required_unless_present = "kubernetes")]
    pub(crate) dir: Option<PathBuf>,
    /// Makes the Secrets `firesteel-ca`, `firesteel-access` and `firesteel-ingest` of this pod's namespace instead
    #[arg(long, conflicts_with = "dir")]
    pub(crate) kubernetes: bool,
    /// Makes the authority, and what else is named
    #[arg(long)]
    pub(crate) authority: bool,
    /// Makes tokens and the cluster's secret, and what else is named
    #[arg(long)]
    pub(crate) access: bool,
    /// Makes the tokens of those who send images by HTTP, and what else is named [default: all three]
    #[arg(long)]
    pub(crate) ingest: bool,
    /// The API server, for --kubernetes
    #[arg(long, value_name = "URL", default_value = "https://kubernetes.default.svc")]
    pub(crate) api_server: Url,
    /// The folder with namespace, token and authority of the pod's account, for --kubernetes
    #[arg(long, value_name = "DIR", default_value = "/var/run/secrets/kubernetes.io/serviceaccount")]
    pub(crate) service_account: PathBuf,
}

/// Pairs of a file's name, or a Secret's key, and its text.
type Texts = Vec<(String, String)>;

/// Makes what is missing.
type Maker = fn() -> anyhow::Result<Texts>;

pub(crate) async fn run(args: MakeCredentialsArgs, context: Context) -> anyhow::Result<Outcome> {
    for (name, make) in args.wanted() {
        let made = match &args.dir {
            Some(dir) => folder(&dir.join(name), make)?,
            None => {
                let api = Api::open(&args.api_server, &args.service_account)?;
                let name = format!("firesteel-{name}");
                tokio::select! {
                    made = api.create("secrets", secret(&name, make()?)) => made?,
                    () = context.signals.shutdown.cancelled() => return Ok(Outcome::Interrupted),
                }
            }
        };
        tracing::info!(name, made, "credentials are there");
    }
    Ok(Outcome::Done)
}

impl MakeCredentialsArgs {
    /// What is made: what is named, and all where nothing is.
    fn wanted(&self) -> Vec<(&'static str, Maker)> {
        let all: [(bool, &str, Maker); 3] = [
            (self.authority, "ca", authority),
            (self.access, "access", || Ok(access())),
            (self.ingest, "ingest", || Ok(ingest())),
        ];
        let none = all.iter().all(|(named, ..)| !named);
        all.into_iter().filter(|(named, ..)| none || *named).map(|(_, name, make)| (name, make)).collect()
    }
}

/// A new authority. Its certificate is both what it signs with and what is trusted.
fn authority() -> anyhow::Result<Texts> {
    let (certificate, key) = Authority::make()?;
    Ok(vec![
        ("ca.crt".to_owned(), certificate.clone()),
        ("tls.crt".to_owned(), certificate),
        ("tls.key".to_owned(), key),
    ])
}

/// New tokens, each in the file of all and in one of its own, and the secret of the cluster.
fn access() -> Texts {
    let mut texts = tokens(&USERS);
    texts.push(("cluster-secret".to_owned(), Secret::random().expose().to_owned()));
    texts
}

/// The token of one who sends images, likewise.
fn ingest() -> Texts {
    tokens(&[(SENDER, Role::Writer)])
}

/// A new token for each user, in a file of its own and in the one of all.
fn tokens(users: &[(&str, Role)]) -> Texts {
    let mut all = "# name role token\n".to_owned();
    let mut texts = Texts::new();
    for (name, role) in users {
        let token = Secret::random().expose().to_owned();
        all.push_str(&format!("{name} {role} {token}\n"));
        texts.push(((*name).to_owned(), token));
    }
    texts.push(("tokens".to_owned(), all));
    texts
}

fn secret(name: &str, texts: Texts) -> Value {
    let data: Map<String, Value> = texts.into_iter().map(|(key, text)| (key, Value::String(text))).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "firesteel"}},
        "stringData": data,
    })
}

/// Fills a folder that is not there; says whether it did. All files appear at once, so that half of a set is never taken for all.
fn folder(path: &Path, make: impl FnOnce() -> anyhow::Result<Texts>) -> anyhow::Result<bool> {
    if path.exists() {
        return Ok(false);
    }
    let failed = || format!("cannot make {} (--dir)", path.display());
    let parent = path.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(parent).with_context(failed)?;
    let new = tempfile::Builder::new().prefix(".new-").tempdir_in(parent).with_context(failed)?;
    let inside = new.path().join("files");
    private_folder(&inside).with_context(failed)?;
    for (name, text) in make()? {
        private_file(&inside.join(name), &text).with_context(failed)?;
    }
    match fs::rename(&inside, path) {
        Ok(()) => Ok(true),
        // Another process was quicker.
        Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty) => {
            Ok(false)
        }
        Err(error) => Err(error).with_context(failed),
    }
}

/// Makes a folder that nobody else can look into.
pub(crate) fn private_folder(path: &Path) -> std::io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(path)
}

/// Writes a file that nobody else can read, from the first byte on.
pub(crate) fn private_file(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn what_is_there_is_kept_and_nobody_else_can_read_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("below/access");
        assert!(folder(&path, || Ok(access())).expect("made"));
        let tokens = fs::read_to_string(path.join("tokens")).expect("a file");
        assert!(!folder(&path, || Ok(access())).expect("kept"));
        assert_eq!(fs::read_to_string(path.join("tokens")).expect("a file"), tokens);
        assert_eq!(fs::read_dir(dir.path().join("below")).expect("a folder").count(), 1);
        #[cfg(unix)]
        for file in ["tokens", "cluster-secret", "admin"] {
            use std::os::unix::fs::MetadataExt as _;
            assert_eq!(fs::metadata(path.join(file)).expect("a file").mode() & 0o077, 0, "{file}");
        }
        let admin = fs::read_to_string(path.join("admin")).expect("a file");
        assert!(tokens.contains(&format!("admin admin {admin}\n")), "the file of all has the token of each");
    }

    #[test]
    fn nothing_named_is_everything_and_the_manifests_arguments_are_taken() {
        use clap::Parser;

        #[derive(Debug, Parser)]
        struct Command {
            #[command(flatten)]
            args: MakeCredentialsArgs,
        }
        for (arguments, names) in [
            (vec![], vec!["ca", "access", "ingest"]),
            (vec!["--authority"], vec!["ca"]),
            (vec!["--access", "--ingest"], vec!["access", "ingest"]),
            (vec!["--authority", "--access", "--ingest"], vec!["ca", "access", "ingest"]),
        ] {
            let line = ["x", "--kubernetes"].into_iter().chain(arguments.iter().copied());
            let Command { args } = Command::try_parse_from(line).expect("usage is right");
            let made: Vec<_> = args.wanted().into_iter().map(|(name, _)| name).collect();
            assert_eq!(made, names, "{arguments:?}");
        }
    }

    #[test]
    fn the_keys_are_those_of_the_manifests() {
        let listed = include_str!("../../../k8s/made-secrets.json");
        let listed: BTreeMap<String, Value> = serde_json::from_str(listed).expect("JSON");
        let keys = |name: &str| {
            let keys = listed[name]["keys"].as_object().expect("keys");
            keys.keys().cloned().collect::<BTreeSet<_>>()
        };
        let made = |texts: Texts| texts.into_iter().map(|(key, _)| key).collect::<BTreeSet<_>>();
        assert_eq!(made(access()), keys("firesteel-access"));
        assert_eq!(made(ingest()), keys("firesteel-ingest"));
        assert_eq!(made(authority().expect("an authority")), keys("firesteel-ca"));
        assert_eq!(secret("x", vec![("a".to_owned(), "b".to_owned())])["stringData"]["a"], "b");
    }
}
