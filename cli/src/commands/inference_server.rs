//! `firesteel inference-server`: the model behind gRPC.

use crate::args::InferenceServerArgs;
use crate::{Context, Outcome};
use anyhow::Context as _;
use firesteel_pipeline::inference::{self, Server};

pub(crate) async fn run(args: InferenceServerArgs, context: Context) -> anyhow::Result<Outcome> {
    let config = inference::Config { listen: args.listen, queue: args.queue as usize, ..args.model.server() };
    let server = Server::bind(config).await.context("inference-server cannot start")?;
    let (address, ready) = (server.address(), server.ready());
    let announce = async move {
        if ready.wait().await {
            tracing::info!(%address, "serving");
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = server.run(context.signals.shutdown.clone()) => result.context("inference-server")?,
        () = announce => {}
    }
    tracing::info!(%address, "stopped");
    Ok(Outcome::Done)
}
