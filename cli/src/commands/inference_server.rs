//! `firesteel inference-server`: the model behind gRPC.

use crate::args::InferenceServerArgs;
use crate::{Context, Outcome};
use anyhow::Context as _;
use firesteel_pipeline::inference::{self, Metrics, Server};
use std::sync::Arc;

pub(crate) async fn run(args: InferenceServerArgs, context: Context) -> anyhow::Result<Outcome> {
    let config = inference::Config { listen: args.listen, queue: args.queue as usize, ..args.model.server() };
    let server = Server::bind(config).await.context("inference-server cannot start")?;
    let address = server.address();
    let metrics = Arc::new(Metrics::of(&server));
    let serving = Box::pin(async move {
        server.run(context.signals.shutdown.clone()).await.context("inference-server")?;
        tracing::info!(%address, "stopped");
        Ok(Outcome::Done)
    });
    args.health.beside(metrics, serving).await
}
