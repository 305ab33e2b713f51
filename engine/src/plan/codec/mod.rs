//! How plans travel between client, scheduler and executors.
//!
//! Both codecs wrap Ballista's. They ask the list of connectors whose a table or a node is, and put what the connector makes
//! of it into a frame with the connector's name (see [`crate::wire`]). What is no connector's is left to Ballista.

mod logical;
mod physical;

use std::sync::Arc;

use ballista_core::serde::BallistaCodec;
use datafusion_proto::logical_plan::LogicalExtensionCodec;
use datafusion_proto::physical_plan::PhysicalExtensionCodec;

use crate::connectors::registry::Connectors;

/// The codec of logical plans.
pub(crate) fn logical(connectors: &Arc<Connectors>) -> Arc<dyn LogicalExtensionCodec> {
    Arc::new(logical::LogicalCodec::new(Arc::clone(connectors)))
}

/// The codec of physical plans.
pub(crate) fn physical(connectors: &Arc<Connectors>) -> Arc<dyn PhysicalExtensionCodec> {
    Arc::new(physical::PhysicalCodec::new(Arc::clone(connectors)))
}

/// Both codecs.
pub(crate) fn both(connectors: &Arc<Connectors>) -> BallistaCodec {
    BallistaCodec::new(logical(connectors), physical(connectors))
}
