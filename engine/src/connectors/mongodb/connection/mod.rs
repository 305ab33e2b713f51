//! A MongoDB server behind a name of the registry. Its client is made on first use and shared by all scans.

pub(crate) mod retry;

use std::fmt;
use std::time::Duration;

use bson::{Document, Timestamp, doc};
use datafusion::error::DataFusionError;
use firesteel_common::mongodb::client::client;
use mongodb::{Client, Database};
use tokio::runtime::Handle;
use tokio::sync::OnceCell;

use super::config::location;
use super::error;
use crate::config::MongoConnection;
use crate::connectors::named;
use crate::connectors::per_query::{PerQuery, QueryKey};
use crate::lease::{Fence, Lease};
use crate::{Config, ConfigField, Error, Result};

/// The connections of a process.
pub(crate) type Connections = named::Connections<Connection>;

/// One server, or one replica set.
pub(crate) struct Connection {
    settings: MongoConnection,
    /// The databases that tables may be in, besides the one that the settings name.
    databases: Vec<String>,
    timeout: Duration,
    /// Where the driver's background tasks run. It has to outlive every scan.
    runtime: Handle,
    client: OnceCell<Client>,
    /// Which cluster time recent queries read at: all scans of a query read at one.
    reads: PerQuery<(), Option<Timestamp>>,
    /// Until when tasks of this process, and lost executors, may write.
    lease: Lease,
    fence: Fence,
}

impl Connection {
    /// The connection of this configuration. Its client lives on `runtime`.
    pub(crate) fn new(config: &Config, runtime: Handle) -> Self {
        Self {
            settings: config.mongodb.clone(),
            databases: config.databases.clone(),
            timeout: config.connect_timeout,
            runtime,
            client: OnceCell::new(),
            reads: PerQuery::default(),
            lease: Lease::default(),
            fence: Fence::default(),
        }
    }

    /// The same connection, whose writers have this lease, and whose writes are planned behind this fence.
    pub(crate) fn writing_under(self, lease: Lease, fence: Fence) -> Self {
        Self { lease, fence, ..self }
    }

    /// Until when tasks of this process may write.
    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Until when lost executors may still write.
    pub(crate) fn fence(&self) -> &Fence {
        &self.fence
    }

    /// How long to wait for the server.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The database of a collection that is named without one.
    pub(crate) fn default_database(&self) -> &str {
        &self.settings.database
    }

    /// Checks that a table may be over this collection: that it is one of documents, in a database on the list.
    pub(crate) fn check_place(&self, database: &str, collection: &str) -> Result<()> {
        let listed = self.databases.iter().any(|allowed| allowed == database);
        if (!listed && database != self.settings.database) || !location::is_database(database) {
            return Err(Error::DatabaseRefused {
                database: database.to_owned(),
                setting: ConfigField::MongodbDatabases,
            });
        }
        if !location::is_collection(collection) {
            let message = format!("`{}` is no collection of documents", collection.escape_default());
            return Err(Error::invalid_option("LOCATION", message));
        }
        Ok(())
    }

    /// A handle to `database`.
    pub(crate) async fn database(&self, database: &str) -> Result<Database> {
        Ok(self.client().await?.database(database))
    }

    /// An error of `operation` on `collection`, ready to travel through DataFusion: where the server was lost it names
    /// the address and the setting, and is worth another try.
    pub(crate) fn failed(
        &self,
        operation: &'static str,
        collection: &str,
        error: &mongodb::error::Error,
    ) -> DataFusionError {
        if error::is_lost(error) {
            return self.unreachable(format!("{operation} on `{collection}`: {}", error::text(error))).into();
        }
        error::classify(operation, collection, error)
    }

    /// Checks that the server answers. The error names the address and the setting.
    pub(crate) async fn check(&self) -> Result<()> {
        self.admin(doc! { "ping": 1 }).await.map(drop)
    }

    /// The cluster time at which `query` reads: now, the first time a query is seen. `None` on a server without
    /// snapshots, which a standalone `mongod` is.
    pub(crate) async fn read_time(&self, query: Option<QueryKey>) -> Result<Option<Timestamp>> {
        let now = async || Ok(snapshot_time(&self.admin(doc! { "hello": 1 }).await?));
        self.reads.once(query, (), now).await
    }

    async fn admin(&self, command: Document) -> Result<Document> {
        let client = self.client().await?;
        let admin = client.database("admin");
        let answer = admin.run_command(command);
        // The driver's own limit is the server selection timeout; this one holds whatever it does.
        match tokio::time::timeout(self.timeout + Duration::from_secs(2), answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.unreachable(error::text(&error))),
            Err(_) => Err(self.unreachable("no answer in time".to_owned())),
        }
    }

    async fn client(&self) -> Result<&Client> {
        self.client
            .get_or_try_init(|| async {
                let (uri, timeout) = (self.settings.uri.clone(), self.timeout);
                let connect = async move { client(&uri, "firesteel", timeout).await };
                // A `mongodb+srv` address is looked up here, which may hang.
                let connect = self.runtime.spawn(tokio::time::timeout(timeout, connect));
                match connect.await {
                    Ok(Ok(Ok(client))) => Ok(client),
                    Ok(Ok(Err(error))) => Err(Error::InvalidSetting {
                        setting: ConfigField::MongodbUri,
                        message: self.why_invalid(&error::text(&error)),
                    }),
                    Ok(Err(_)) => Err(self.unreachable("its name was not resolved in time".to_owned())),
                    Err(_) => Err(self.unreachable("the engine is shutting down".to_owned())),
                }
            })
            .await
    }

    fn unreachable(&self, message: String) -> Error {
        Error::Unreachable {
            role: "MongoDB",
            address: self.settings.uri.hosts().to_owned(),
            setting: ConfigField::MongodbUri,
            message: self.settings.uri.redact(&message),
        }
    }

    /// Why the connection string cannot be used. The driver quotes the part that it stumbled over, which for an
    /// unescaped password is a part of it: with credentials in the string its words are not repeated.
    fn why_invalid(&self, message: &str) -> String {
        if self.settings.uri.holds_credentials() {
            return "not a valid connection string; in user and password `: / ? # [ ] @ %` have to be percent-encoded"
                .to_owned();
        }
        self.settings.uri.redact(message)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The time of the last operation, where the server is a member of a replica set or a router of a sharded cluster.
fn snapshot_time(hello: &Document) -> Option<Timestamp> {
    let replicated = hello.contains_key("setName") || hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid");
    if replicated { hello.get_timestamp("operationTime").ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_replicated_servers_have_snapshots() {
        let time = Timestamp { time: 7, increment: 1 };
        for (hello, expected) in [
            (doc! { "setName": "rs0", "operationTime": time }, Some(time)),
            (doc! { "msg": "isdbgrid", "operationTime": time }, Some(time)),
            (doc! { "operationTime": time }, None),
            (doc! { "setName": "rs0" }, None),
        ] {
            assert_eq!(snapshot_time(&hello), expected, "{hello}");
        }
    }

    #[tokio::test]
    async fn only_listed_databases_and_collections_of_documents_are_tables() {
        let databases = vec!["shop".to_owned()];
        let config = Config { databases, ..Config::new("mongodb://localhost", "firesteel") };
        let connection = Connection::new(&config, Handle::current());
        for (database, collection) in
            [("firesteel", "predictions"), ("shop", "orders.archive"), ("shop", "systems")]
        {
            connection.check_place(database, collection).unwrap();
        }
        for (database, collection) in [
            ("admin", "system.users"),
            ("local", "oplog.rs"),
            ("config", "shards"),
            ("", "a"),
            ("Shop", "orders"),
            ("shop.orders", "x"),
        ] {
            let error = connection.check_place(database, collection).unwrap_err();
            assert_eq!(
                error.field(),
                Some(ConfigField::MongodbDatabases),
                "{database}.{collection}: {error}"
            );
        }
        for collection in ["system.users", "$cmd", "a$b", "", "a\0b"] {
            let error = connection.check_place("shop", collection).unwrap_err();
            assert!(matches!(error, Error::InvalidOption { .. }), "{collection}: {error}");
        }
    }

    #[tokio::test]
    async fn an_unusable_address_is_told_without_its_password() {
        let config = Config::new("mongodb://me:hunter2@local host:x/?a=b", "firesteel");
        let connection = Connection::new(&config, Handle::current());
        let error = connection.check().await.unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(told.contains(ConfigField::MongodbUri.name()), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}
