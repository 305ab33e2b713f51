//! A session: what a program runs queries through, on an embedded engine or on a cluster.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use ballista_core::extension::SessionConfigExt as _;
use datafusion::catalog::TableProvider;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::Expr;
use datafusion::prelude::SessionContext;
use futures::future::BoxFuture;
use tokio::runtime::Handle;

use super::job_names::JobNames;
use super::registry::Registry;
use crate::cluster::{DEFAULT_SCHEDULER_PORT, Embedded};
use crate::connectors::mongodb::MongoDb;
use crate::connectors::registry::Connectors;
use crate::dataflow::{Dataset, Exprs};
use crate::functions::process;
use crate::jobs::JobClient;
use crate::peers::{customize, patient};
use crate::plan::{Reconnect, Submitter, state, tables};
use crate::{Config, ConfigField, Error, FileAccess, Result};

/// A handle to the engine. Clones are cheap and share everything.
///
/// The tables `predictions` (MongoDB), `images`, `predictions_topic` and `dead_letters` (Kafka) are there from the start. Nothing
/// connects to a server before one of its tables is asked for.
#[derive(Clone, Debug)]
pub struct Session {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) context: Context,
    connectors: Arc<Connectors>,
    /// The engine in this process; `None` on a cluster, and after a shutdown.
    embedded: tokio::sync::Mutex<Option<Embedded>>,
    /// Whether tables are read by this process, so that it can tell whether their server answers.
    pub(super) reads_here: bool,
    /// What further sessions on the same engine are made of.
    config: Config,
    scheduler_url: String,
    cached: Registry,
    pub(super) jobs: JobClient,
    pub(super) job_names: JobNames,
}

/// DataFusion's context has no `Debug` worth printing.
pub(super) struct Context(pub(super) SessionContext);

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SessionContext").field(&self.0.session_id()).finish()
    }
}

impl Session {
    /// Starts an engine in this process: a scheduler and one executor, over loopback on ports that the system picks.
    ///
    /// It runs on threads of its own, with stacks large enough for deep plans, and leaves nothing behind after
    /// [`Session::shutdown`] or when the last clone is dropped.
    pub fn embedded(config: Config) -> BoxFuture<'static, Result<Self>> {
        Box::pin(async move {
            let (embedded, connectors) = Embedded::start(&config).await?;
            let url = embedded.scheduler_url().to_owned();
            let config = Config { dialer: embedded.dialer().clone(), ..config };
            Self::open(config, connectors, &url, Some(embedded), true)
        })
    }

    /// Connects to the cluster whose scheduler is at `address`, such as `df://localhost:50050`, or `dfs://head:50050` for one
    /// with TLS. [`Config::dialer`] says whom to trust and which token to send; one that knows an authority uses TLS for
    /// both.
    ///
    /// Scheduler and executors resolve the connection to MongoDB from their own settings. A session works as long as the
    /// runtime in which it was made.
    pub fn connect<'a>(address: &'a str, config: Config) -> BoxFuture<'a, Result<Self>> {
        Box::pin(async move {
            let (host, port) = scheduler_address(address)?;
            let scheme = if asks_for_tls(address) { "https" } else { config.dialer.scheme() };
            let reach = tokio::net::TcpStream::connect((host.as_str(), port));
            let failure = match tokio::time::timeout(config.connect_timeout, reach).await {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("no answer in time".to_owned()),
            };
            if let Some(message) = failure {
                return Err(Error::Unreachable {
                    role: "the scheduler",
                    address: format!("{host}:{port}"),
                    setting: ConfigField::Scheduler,
                    message,
                });
            }
            let files = config.files.clone().or(FileAccess::client());
            let config = Config { files, ..config };
            let connectors = Arc::new(Connectors::new(&config, Handle::current()));
            // An IPv6 address needs its brackets back.
            let host = if host.contains(':') { format!("[{host}]") } else { host };
            Self::open(config, connectors, &format!("{scheme}://{host}:{port}"), None, false)
        })
    }

    fn open(
        config: Config,
        connectors: Arc<Connectors>,
        scheduler_url: &str,
        embedded: Option<Embedded>,
        reads_here: bool,
    ) -> Result<Self> {
        let jobs = JobClient::new(scheduler_url, &config.dialer)?;
        let submitter = Submitter::new(jobs.clone(), config.dialer.clone(), &connectors);
        let role = state::Role::Client { scheduler_url, submitter: &submitter };
        let mut state = state::session_state(role, state::session_config(&config, &connectors), &connectors)?;
        let job_names = JobNames::new(state.session_id());
        let mut named = state
            .config()
            .clone()
            .with_ballista_job_name(&job_names.common())
            .with_ballista_use_tls(config.dialer.uses_tls())
            .with_ballista_override_create_grpc_client_endpoint(customize(config.dialer.clone(), patient));
        if !reads_here {
            // A scheduler in this process does not come back.
            named = named.with_extension(Arc::new(Reconnect::new(jobs.clone(), config.reconnect)));
        }
        *state.config_mut() = named;
        let context = SessionContext::new_with_state(state);
        let inner = Inner {
            context: Context(context),
            connectors,
            embedded: tokio::sync::Mutex::new(embedded),
            reads_here,
            config,
            scheduler_url: scheduler_url.to_owned(),
            cached: Registry::default(),
            jobs,
            job_names,
        };
        tables::register(&inner.context.0.state(), &inner.connectors)?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Another session on the same engine, with a catalog and settings of its own. The engine ends with the session that it was
    /// started for.
    pub(crate) fn beside(&self) -> Result<Self> {
        let inner = &self.inner;
        let connectors = Arc::clone(&inner.connectors);
        Self::open(inner.config.clone(), connectors, &inner.scheduler_url, None, inner.reads_here)
    }

    /// Registers `collection` of the configured database as the table `name`, read with `schema`.
    ///
    /// Field types may be Boolean, Int32, Int64, Float64, Utf8, Binary, Timestamp in milliseconds, Decimal128, and
    /// Struct and List of these.
    pub fn register_collection(&self, name: &str, collection: &str, schema: SchemaRef) -> Result<()> {
        let inner = &self.inner;
        let table = inner.connectors.get::<MongoDb>()?.table(collection, schema)?;
        inner.context.0.register_table(name, Arc::new(table))?;
        Ok(())
    }

    /// Registers `collection` of the configured database as the table `name`, with a schema inferred from a sample of
    /// 1,000 documents. The result is that schema.
    pub fn infer_collection<'a>(
        &'a self,
        name: &'a str,
        collection: &'a str,
    ) -> BoxFuture<'a, Result<SchemaRef>> {
        Box::pin(async move {
            let inner = &self.inner;
            let table = inner.connectors.get::<MongoDb>()?.infer(collection).await?;
            let schema = table.schema();
            inner.context.0.register_table(name, Arc::new(table))?;
            Ok(schema)
        })
    }

    /// The rows of a table.
    ///
    /// On an embedded engine a table of MongoDB or Kafka is an [`Error::Unreachable`] here where its server does not answer.
    pub fn table<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Dataset>> {
        Box::pin(async move {
            let names = self.inner.cached.freeze_names().await;
            let frame = self.inner.context.0.table(name).await?;
            drop(names);
            self.check_sources(frame.logical_plan()).await?;
            Ok(Dataset::new(frame))
        })
    }

    /// The catalog, the settings and the way to the scheduler.
    pub(crate) fn context(&self) -> &SessionContext {
        &self.inner.context.0
    }

    /// A call of a scalar or aggregate function by its name: one that the program registered, or one of SQL's.
    pub fn call(&self, name: &str, arguments: impl Exprs) -> Result<Expr> {
        let (state, arguments) = (self.inner.context.0.state(), arguments.into_exprs());
        if let Ok(function) = state.udf(name) {
            return Ok(function.call(arguments));
        }
        match state.udaf(name) {
            Ok(function) => Ok(function.call(arguments)),
            Err(_) => Err(Error::UnknownFunction { name: name.to_owned(), process: process("this session") }),
        }
    }

    /// Ends the engine of this session, with all its threads and files. Further queries fail. On a cluster this only
    /// lets go of it.
    pub fn shutdown<'a>(&'a self) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            Box::pin(self.remove_cached()).await;
            let embedded = self.inner.embedded.lock().await.take();
            if let Some(embedded) = embedded {
                embedded.stop().await;
            }
        })
    }

    /// The tables that this session has cached.
    pub(crate) fn cached(&self) -> &Registry {
        &self.inner.cached
    }

    /// The connectors of this process.
    pub(crate) fn connectors(&self) -> &Connectors {
        &self.inner.connectors
    }

    /// Checks the servers behind the tables of a plan, for an error that says what to do about it.
    pub(crate) async fn check_sources(&self, plan: &datafusion::logical_expr::LogicalPlan) -> Result<()> {
        if !self.inner.reads_here {
            return Ok(());
        }
        for name in self.inner.connectors.connections_of(plan)? {
            self.inner.connectors.check(&name).await?;
        }
        Ok(())
    }
}

/// Whether a scheduler's address asks for TLS: `dfs://host:port`.
pub fn asks_for_tls(address: &str) -> bool {
    ["dfs://", "https://"].iter().any(|scheme| address.starts_with(scheme))
}

/// Host and port of a scheduler's address, which is `df://host:port`, or `dfs://host:port` with TLS; an IPv6 address comes
/// without its brackets.
pub fn scheduler_address(address: &str) -> Result<(String, u16)> {
    let invalid = |message: String| Error::InvalidSetting { setting: ConfigField::Scheduler, message };
    let url = url::Url::parse(address).map_err(|error| invalid(error.to_string()))?;
    if !matches!(url.scheme(), "df" | "dfs" | "http" | "https") {
        return Err(invalid(format!("it starts with {}:// and not with df:// or dfs://", url.scheme())));
    }
    let host = url
        .host_str()
        .filter(|host| !host.is_empty())
        .ok_or_else(|| invalid("it names no host".to_owned()))?;
    // `http` has a port of its own, which the URL leaves out where it is named.
    let port = url.port_or_known_default().unwrap_or(DEFAULT_SCHEDULER_PORT);
    Ok((host.trim_matches(['[', ']']).to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_perhaps_a_port() {
        for (address, expected) in [
            ("df://localhost:50050", Some(("localhost", 50050))),
            ("df://scheduler", Some(("scheduler", 50050))),
            ("df://[::1]:7", Some(("::1", 7))),
            ("http://scheduler:80", Some(("scheduler", 80))),
            ("dfs://scheduler", Some(("scheduler", 50050))),
            ("https://scheduler:443", Some(("scheduler", 443))),
            ("ftp://scheduler:21", None),
            ("localhost:50050", None),
            ("mongodb://localhost", None),
            ("df://", None),
            ("", None),
        ] {
            let parsed = scheduler_address(address).ok();
            assert_eq!(parsed.as_ref().map(|(host, port)| (host.as_str(), *port)), expected, "{address}");
        }
    }

    #[tokio::test]
    async fn a_scheduler_that_is_not_there_names_address_and_setting() {
        let error = Session::connect("df://127.0.0.1:1", Config::default()).await.unwrap_err();
        assert!(
            matches!(&error, Error::Unreachable { address, setting, .. }
                if address == "127.0.0.1:1" && *setting == ConfigField::Scheduler),
            "{error}"
        );
    }
}
