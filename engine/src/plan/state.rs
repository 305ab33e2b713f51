//! The one place where a session's state is made: for the client, the scheduler and the executors.
//!
//! A plan means the same everywhere only if all three know the same functions, codecs and options. Ballista's own
//! helpers drop functions that a state already has, and its default executor lacks the array functions.

use std::sync::Arc;

use ballista_core::config::{BALLISTA_ADAPTIVE_PLANNER_ENABLED, BALLISTA_CLIENT_IO_RETRY_WAIT_TIME_MS};
use ballista_core::extension::{
    SessionConfigExt, ballista_aggregate_functions, ballista_scalar_functions, ballista_window_functions,
};
use ballista_core::optimizer::ballista_default_optimizer_rules;
use ballista_core::planner::BallistaQueryPlanner;
use datafusion::error::Result;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::optimizer::AnalyzerRule;
use datafusion::prelude::SessionConfig;
use datafusion_proto::protobuf::LogicalPlanNode;

use super::caught;
use super::guard::{PlanGuard, WrittenFiles};
use super::planner::Planner;
use super::submit::{Submitter, SubmittingPlanner};
use crate::Config;
use crate::connectors::file_tables::{FILE_FORMATS, FileTables};
use crate::connectors::registry::Connectors;
use crate::functions::bounded;
use crate::plan::codec;
use crate::wire::MAX_MESSAGE;

/// How long to wait before a shuffle file is fetched again. Ballista's 3 s, four times over, would be most of what the
/// loss of an executor costs.
const FETCH_RETRY_MS: usize = 300;

/// Which process builds the state.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role<'a> {
    /// Sends its plans to the scheduler at this address.
    Client {
        /// Such as `http://localhost:50050`.
        scheduler_url: &'a str,
        /// The ways to it and its executors.
        submitter: &'a Submitter,
    },
    /// Plans itself, for everybody.
    Scheduler,
    /// Runs a part of a plan.
    Server,
}

/// The options of a session.
pub(crate) fn session_config(config: &Config, connectors: &Arc<Connectors>) -> SessionConfig {
    SessionConfig::new_with_ballista()
        .with_target_partitions(config.resolved_partitions())
        .with_information_schema(true)
        .with_ballista_grpc_client_max_message_size(MAX_MESSAGE)
        .set_usize(BALLISTA_CLIENT_IO_RETRY_WAIT_TIME_MS, FETCH_RETRY_MS)
        // Ballista's adaptive planner does not recover from the loss of an executor's shuffle files
        // (apache/datafusion-ballista#1986), and can leave a job waiting for ever (#2150). The static one recovers.
        .set_bool(BALLISTA_ADAPTIVE_PLANNER_ENABLED, false)
        .with_ballista_logical_extension_codec(codec::logical(connectors))
        .with_ballista_physical_extension_codec(codec::physical(connectors))
}

/// The state of a session with these options.
pub(crate) fn session_state(
    role: Role<'_>,
    config: SessionConfig,
    connectors: &Arc<Connectors>,
) -> Result<SessionState> {
    let options = config.ballista_config();
    let mut builder = SessionStateBuilder::new()
        .with_default_features()
        // A table that is scanned may ask for the connectors, as that of a cache job does.
        .with_config(config.with_extension(Arc::clone(connectors)))
        .with_runtime_env(connectors.files().serve(RuntimeEnvBuilder::new()).build_arc()?)
        .with_optimizer_rules(ballista_default_optimizer_rules().into_iter().map(caught::rule).collect())
        .with_scalar_functions(ballista_scalar_functions())
        .with_aggregate_functions(ballista_aggregate_functions())
        .with_window_functions(ballista_window_functions());
    for format in FILE_FORMATS {
        builder = builder.with_table_factory(format.to_owned(), Arc::new(FileTables::default()));
    }
    for (stored_as, factory) in connectors.iter().flat_map(|connector| connector.factories()) {
        builder = builder.with_table_factory(stored_as.to_owned(), factory);
    }
    if let Role::Scheduler | Role::Server = role {
        builder = builder.with_query_planner(Arc::new(Planner { connectors: Arc::clone(connectors) }));
    }
    if let Role::Client { scheduler_url, submitter } = role {
        let ballista = BallistaQueryPlanner::<LogicalPlanNode>::with_extension(
            scheduler_url.to_owned(),
            options,
            codec::logical(connectors),
        );
        builder = builder
            .with_query_planner(Arc::new(SubmittingPlanner { ballista, submitter: submitter.clone() }))
            .with_optimizer_rule(caught::rule(Arc::new(super::empty::KeepEmptyColumns)));
    }
    let mut rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>> =
        vec![Arc::new(PlanGuard { limits: *connectors.limits() })];
    if matches!(role, Role::Scheduler) {
        rules.push(Arc::new(WrittenFiles { stores: Arc::clone(connectors.files()) }));
    }
    rules.extend(caught::analyzer_rules());
    let mut state = builder.with_analyzer_rules(rules).build();
    let planning = !matches!(role, Role::Server);
    bounded::register(&mut state, connectors.limits().value_bytes, planning)?;
    connectors.functions().register(&mut state)?;
    Ok(state)
}
