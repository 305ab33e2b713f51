//! The collections that are measured: made by `firesteel seed`, once.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use bson::{Document, doc};
use clap::Args;
use firesteel_engine::MongoUri;
use mongodb::Client;
use tokio::process::Command;

/// Where the collections are, and what makes them.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServerArgs {
    /// The binary that seeds, and that clusters are made of
    #[arg(long, value_name = "FILE", default_value = "target/release/firesteel")]
    firesteel: PathBuf,
    /// MongoDB's address
    #[arg(
        long,
        value_name = "URI",
        env = "FIRESTEEL_MONGODB_URI",
        default_value = "mongodb://localhost:27017",
        hide_env_values = true
    )]
    pub(crate) mongodb_uri: String,
}

/// Refuses a secret in `--mongodb-uri` among the arguments, which every user of the machine can read in the process list.
pub(crate) fn refuse_secrets(arguments: impl IntoIterator<Item = String>) -> anyhow::Result<()> {
    const FLAG: &str = "--mongodb-uri";
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let Some(rest) = argument.strip_prefix(FLAG) else { continue };
        let uri = match rest.strip_prefix('=') {
            Some(uri) => Some(uri.to_owned()),
            None if rest.is_empty() => arguments.next(),
            None => None,
        };
        let uri = MongoUri::new(uri.unwrap_or_default());
        ensure!(
            !uri.holds_password() && uri.secret_option().is_none(),
            "{FLAG} holds a secret, which every user of this machine can read in the process list; set \
             FIRESTEEL_MONGODB_URI instead"
        );
    }
    Ok(())
}

impl ServerArgs {
    /// The binary by its whole path: the processes of a cluster run in a folder of their own.
    pub(crate) fn binary(&self) -> anyhow::Result<PathBuf> {
        let path = &self.firesteel;
        path.canonicalize()
            .with_context(|| format!("there is no {} (--firesteel); `make release` makes it", path.display()))
    }
}

/// How MongoDB stores the collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    Clustered,
    Plain,
}

impl Layout {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Clustered => "clustered",
            Self::Plain => "plain",
        }
    }
}

/// A database with so many predictions in that layout; its name. What an earlier run made is used again.
pub(crate) async fn ensure(server: &ServerArgs, docs: u64, layout: Layout) -> anyhow::Result<String> {
    let name = format!("firesteel_bench_{}_{docs}", layout.name());
    let client = Client::with_uri_str(&server.mongodb_uri).await?;
    let collection = client.database(&name).collection::<Document>("predictions");
    let count = async || anyhow::Ok(collection.count_documents(doc! {}).await?);
    if collection.estimated_document_count().await? == docs && count().await? == docs {
        return Ok(name);
    }
    let mut command = Command::new(server.binary()?);
    command.args(["seed", "--drop", "--docs", &docs.to_string()]);
    if layout == Layout::Plain {
        command.arg("--plain");
    }
    // The address may hold a password, which an argument would show to everyone.
    command.env("FIRESTEEL_MONGODB_URI", &server.mongodb_uri).env("FIRESTEEL_MONGODB_DATABASE", &name);
    let status = command.stdout(Stdio::null()).kill_on_drop(true).status().await;
    let status = status.context("cannot run `firesteel seed`")?;
    ensure!(status.success(), "`firesteel seed --docs {docs}` failed: {status}");
    let found = count().await?;
    ensure!(found == docs, "{name} holds {found} documents after seeding {docs}");
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::refuse_secrets;

    #[test]
    fn a_secret_in_an_argument_is_refused_and_not_repeated() {
        let check =
            |arguments: &[&str]| refuse_secrets(arguments.iter().map(|&argument| argument.to_owned()));
        for uri in ["mongodb://me:hunter2@host", "mongodb://h/?tlsCertificateKeyFilePassword=hunter2"] {
            for arguments in [vec!["report", "--mongodb-uri", uri], vec![&format!("--mongodb-uri={uri}")]] {
                let told = check(&arguments).expect_err("a secret").to_string();
                assert!(told.contains("FIRESTEEL_MONGODB_URI") && !told.contains("hunter2"), "{told}");
            }
        }
        check(&["report", "--mongodb-uri", "mongodb://host:1", "--rounds", "3"]).expect("no secret");
        check(&["report", "--mongodb-uri"]).expect("for clap to tell");
    }
}
