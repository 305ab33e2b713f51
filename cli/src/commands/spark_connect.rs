//! `firesteel spark-connect`: PySpark's programs on an engine in this process.

use std::net::SocketAddr;

use clap::Args;
use firesteel_engine::connect::{SparkConnect, SparkConnectConfig};
use firesteel_engine::{Config, Session};

use crate::args::{CacheArgs, EngineArgs, ServerSecurityArgs, UsersArgs};
use crate::context::{Context, Outcome};

/// The examples at the end of `--help`.
const EXAMPLES: &str = "\
Examples:
    firesteel spark-connect
    SPARK_REMOTE=sc://localhost:15002 python program.py

    # for other machines: who may ask is in a file, and the token is part of the address
    firesteel spark-connect --listen 0.0.0.0:15002 --tokens-file users --tls-cert tls.crt --tls-key tls.key
    SPARK_REMOTE='sc://HOST:15002/;use_ssl=true;token=TOKEN' python program.py

docs/spark.md says what works.";

/// Where clients are served.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct SparkConnectArgs {
    /// Where to listen
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "FIRESTEEL_SPARK_CONNECT_LISTEN",
        default_value = "127.0.0.1:15002",
        help_heading = "Server"
    )]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) users: UsersArgs,
    #[command(flatten)]
    pub(crate) security: ServerSecurityArgs,
    #[command(flatten)]
    pub(crate) cache: CacheArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

pub(crate) async fn run(args: SparkConnectArgs, context: Context) -> anyhow::Result<Outcome> {
    let security = args.security.read(&args.users)?;
    let config = Config { cache: args.cache.config(), ..args.engine.config(&context.settings)? };
    let session = tokio::select! {
        session = Session::embedded(config) => session?,
        () = context.signals.shutdown.cancelled() => return Ok(Outcome::Interrupted),
    };
    let server = SparkConnectConfig {
        listen: args.listen,
        access: security.access,
        tls: security.tls,
        insecure: security.insecure,
    };
    let server = SparkConnect::bind(server, session).await?;
    let address = server.address();
    server.run(context.signals.shutdown.clone()).await?;
    tracing::info!(%address, "stopped");
    Ok(Outcome::Done)
}
