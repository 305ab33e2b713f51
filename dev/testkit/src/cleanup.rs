//! Things in a real server that go away with their owner, also when a test panics.
//!
//! `drop` cannot await, and the test's runtime may be on its way out, so the removal runs on a thread with a small
//! runtime of its own. A removal that fails is reported and does not fail the test.

use bson::{Document, doc};
use mongodb::Database;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use std::time::Duration;

/// Documents of one insert.
const INSERT: usize = 20_000;

/// A database that is dropped at the end.
#[derive(Debug)]
pub struct TempDatabase {
    uri: String,
    /// Its name.
    pub name: String,
}

impl TempDatabase {
    /// Reserves a name; MongoDB makes the database with the first write.
    #[must_use]
    pub fn new(uri: &str, prefix: &str) -> Self {
        // MongoDB allows 63 bytes.
        let name: String = crate::unique(prefix).chars().take(60).collect();
        Self { uri: uri.to_owned(), name }
    }

    /// The database, by a client of its own.
    ///
    /// # Errors
    /// Where the address is none.
    pub async fn open(&self) -> anyhow::Result<Database> {
        Ok(mongodb::Client::with_uri_str(&self.uri).await?.database(&self.name))
    }
}

/// Makes a collection, clustered on `_id` or as MongoDB does unasked.
///
/// # Errors
/// Where MongoDB refuses it.
pub async fn create_collection(database: &Database, collection: &str, clustered: bool) -> anyhow::Result<()> {
    let mut command = doc! { "create": collection };
    if clustered {
        command.insert("clusteredIndex", doc! { "key": { "_id": 1 }, "unique": true });
    }
    database.run_command(command).await?;
    Ok(())
}

/// Makes a collection and fills it.
///
/// # Errors
/// Where MongoDB refuses the collection or a document.
pub async fn fill_collection(
    database: &Database,
    collection: &str,
    clustered: bool,
    documents: &[Document],
) -> anyhow::Result<()> {
    create_collection(database, collection, clustered).await?;
    let collection = database.collection::<Document>(collection);
    for some in documents.chunks(INSERT) {
        collection.insert_many(some).await?;
    }
    Ok(())
}

impl Drop for TempDatabase {
    fn drop(&mut self) {
        let (uri, name) = (self.uri.clone(), self.name.clone());
        remove(&format!("database {}", self.name), async move {
            let client = mongodb::Client::with_uri_str(uri).await?;
            client.database(&name).drop().await?;
            Ok(())
        });
    }
}

/// Topics that are deleted at the end.
#[derive(Debug)]
pub struct TempTopics {
    bootstrap: String,
    names: Vec<String>,
}

impl TempTopics {
    /// Takes charge of topics, whether or not they exist yet.
    #[must_use]
    pub fn new(bootstrap: &str, names: impl IntoIterator<Item = String>) -> Self {
        Self { bootstrap: bootstrap.to_owned(), names: names.into_iter().collect() }
    }
}

impl Drop for TempTopics {
    fn drop(&mut self) {
        let (bootstrap, names) = (self.bootstrap.clone(), std::mem::take(&mut self.names));
        remove(&format!("topics {names:?}"), async move {
            let admin: AdminClient<DefaultClientContext> =
                ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            // A topic that was never made is fine, so single results are not looked at.
            let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(10)));
            admin.delete_topics(&names, &options).await?;
            Ok(())
        });
    }
}

fn remove(what: &str, work: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), work).await })?
    });
    match thread.join() {
        Ok(Ok(())) => {}
        Ok(Err(error)) => eprintln!("could not remove {what}: {error:#}"),
        Err(_) => eprintln!("could not remove {what}: panicked"),
    }
}
