//! How plans travel between client, scheduler and executors.
//!
//! Both codecs wrap Ballista's and delegate to them. What is ours starts with four bytes that no protobuf message can
//! start with, so the two never get mixed up, and a stock Ballista client can still send plans without our tables.
//! Behind the four bytes is a message of `plan.proto` that carries its version: a process refuses a plan that another
//! version made, because a plan that is half understood gives wrong numbers.

mod cache;
mod group;
mod kafka;
mod logical;
mod message;
mod partitioner;
mod physical;
mod write;

use std::sync::Arc;

use ballista_core::serde::BallistaCodec;
use datafusion_proto::logical_plan::LogicalExtensionCodec;
use datafusion_proto::physical_plan::PhysicalExtensionCodec;

use crate::connections::Connections;

/// The version of the messages in `plan.proto`.
const WIRE_VERSION: u32 = 2;

/// What prost generates. Only this module looks inside.
#[allow(
    clippy::all,
    missing_docs,
    unreachable_pub,
    reason = "generated code; plan.proto has the documentation"
)]
mod wire {
    include!(concat!(env!("OUT_DIR"), "/firesteel.engine.v1.rs"));
}

/// The codec of logical plans.
pub(crate) fn logical(connections: &Arc<Connections>) -> Arc<dyn LogicalExtensionCodec> {
    Arc::new(logical::LogicalCodec::new(Arc::clone(connections)))
}

/// The codec of physical plans.
pub(crate) fn physical(connections: &Arc<Connections>) -> Arc<dyn PhysicalExtensionCodec> {
    Arc::new(physical::PhysicalCodec::new(Arc::clone(connections)))
}

/// Both codecs.
pub(crate) fn both(connections: &Arc<Connections>) -> BallistaCodec {
    BallistaCodec::new(logical(connections), physical(connections))
}
