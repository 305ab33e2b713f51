//! Starts the real binary with settings of its own and sees to it that nothing of it is left.

pub(crate) use firesteel_testkit::Role;
use firesteel_testkit::{Services, TempDatabase, TempTopics, unique};
use mongodb::bson::{Document, doc};
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Output};

/// Topics, groups and a database that no other test uses.
pub(crate) struct World {
    pub(crate) services: Services,
    pub(crate) database: TempDatabase,
    pub(crate) images: String,
    pub(crate) predictions: String,
    groups: [String; 2],
    _topics: TempTopics,
    pub(crate) folder: tempfile::TempDir,
}

impl World {
    /// None, loudly, where no servers are configured.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let services = Services::from_env()?;
        let (images, predictions) = (unique("images"), unique("predictions"));
        let topics = [images.clone(), predictions.clone()];
        let topics = topics.into_iter().flat_map(|topic| {
            let more =
                ["dead-letter.replayed", "dead-letter", "producers"].map(|end| format!("{topic}.{end}"));
            more.into_iter().chain([topic])
        });
        Some(Self {
            database: TempDatabase::new(&services.mongodb_uri, name),
            _topics: TempTopics::new(&services.kafka_bootstrap, topics),
            services,
            images,
            predictions,
            groups: [unique("images-group"), unique("predictions-group")],
            folder: tempfile::tempdir().expect("a temporary folder"),
        })
    }

    /// The binary, with this world's settings.
    pub(crate) fn firesteel(&self, arguments: &[&str]) -> Command {
        let mut command = firesteel(arguments);
        command
            .env("FIRESTEEL_KAFKA_BOOTSTRAP", &self.services.kafka_bootstrap)
            .env("FIRESTEEL_MONGODB_URI", &self.services.mongodb_uri)
            .env("FIRESTEEL_MONGODB_DATABASE", &self.database.name)
            .env("FIRESTEEL_IMAGES_TOPIC", &self.images)
            .env("FIRESTEEL_PREDICTIONS_TOPIC", &self.predictions)
            .env("FIRESTEEL_IMAGES_GROUP", &self.groups[0])
            .env("FIRESTEEL_PREDICTIONS_GROUP", &self.groups[1])
            .env("FIRESTEEL_KAFKA_PARTITIONS", "4")
            .current_dir(self.folder.path());
        command
    }

    pub(crate) async fn collection(&self) -> mongodb::Collection<Document> {
        self.database.open().await.expect("MongoDB").collection("predictions")
    }

    pub(crate) async fn documents(&self) -> u64 {
        self.collection().await.count_documents(doc! {}).await.expect("a count")
    }
}

/// The binary without any setting of the surrounding environment.
pub(crate) fn firesteel(arguments: &[&str]) -> Command {
    firesteel_testkit::binary(Path::new(env!("CARGO_BIN_EXE_firesteel")), arguments)
}

/// Runs to the end.
pub(crate) fn output(mut command: Command) -> Output {
    command.output().expect("the binary starts")
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

/// A ledger's ids.
pub(crate) fn ledger(path: &Path) -> Vec<String> {
    let mut text = String::new();
    std::fs::File::open(path).expect("a ledger").read_to_string(&mut text).expect("text");
    text.lines().filter(|line| !line.starts_with("claim ")).map(str::to_owned).collect()
}
