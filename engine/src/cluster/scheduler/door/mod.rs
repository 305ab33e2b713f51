//! The door of the scheduler: who may do what, in front of Ballista's services.
//!
//! ```text
//!  gate (who asks) ──▶ Caller ──┬─▶ grpc: plans, jobs, executors ──▶ Ballista's SchedulerServer
//!                               ├─▶ flight: SQL in sessions of its caller's own, results ──▶ executors
//!                               └─▶ rest: jobs and their history, others' names left out
//!            owners: who submitted which job ─── asked by all three
//! ```
//!
//! The gate in front of the router has found out who asks. Here it is decided what they may do: a reader reads, a writer
//! writes, an admin looks after the jobs of others, and only members of the cluster speak for executors. Without
//! authentication everybody may do everything, except what nobody may: send physical plans, have the scheduler dial
//! anything but a registered executor, or enter the session of another.

mod flight;
mod grpc;
mod owners;
mod plan;
mod rest;

use std::sync::Arc;

use ballista_scheduler::cluster::JobState as _;
use datafusion::execution::TaskContext;
use firesteel_common::access::{Access, Caller};
use firesteel_common::net::Dialer;
use tonic::{Request, Status};

pub(super) use self::flight::FlightDoor;
pub(super) use self::grpc::GrpcDoor;
pub(super) use self::owners::Owners;
pub(crate) use self::plan::role_of as role_of_plan;
pub(super) use self::rest::guard;
use super::Server;
use super::failed;
use super::state::{Executors, Jobs};
use crate::connectors::registry::Connectors;
use crate::error::encode;
use crate::peers::{Clients, limited};
use crate::{Error, Result};

/// What the doors share.
pub(super) struct Door {
    server: Arc<Server>,
    executors: Arc<Executors>,
    owners: Arc<Owners>,
    /// How much a statement or a plan may ask for.
    connectors: Arc<Connectors>,
    /// Who may ask, for handshakes: the gate lets them through.
    access: Arc<Access>,
    /// The functions that plans are decoded with when their role is asked for.
    decoding: Arc<TaskContext>,
    /// The connections to the executors, from which clients get what they fetch.
    clients: Clients,
}

impl Door {
    /// Creates the doors of `server`, which reach the executors by `dialer`.
    pub(super) async fn new(
        (server, connectors): (Arc<Server>, Arc<Connectors>),
        executors: Arc<Executors>,
        jobs: &Jobs,
        owners: Arc<Owners>,
        access: Arc<Access>,
        dialer: Dialer,
    ) -> Result<Arc<Self>> {
        let config = jobs.produce_config();
        let context = jobs.create_or_update_session("firesteel-door", &config).await.map_err(failed)?;
        Ok(Arc::new(Self {
            server,
            executors,
            owners,
            connectors,
            access,
            decoding: context.task_ctx(),
            clients: Clients::new(dialer, limited),
        }))
    }

    /// The door of Ballista's gRPC.
    pub(super) fn grpc(self: &Arc<Self>) -> GrpcDoor {
        GrpcDoor(Arc::clone(self))
    }

    /// The door of Arrow Flight, with SQL or for results alone.
    pub(super) fn flight(self: &Arc<Self>, sql: bool) -> FlightDoor {
        FlightDoor::new(Arc::clone(self), sql)
    }
}

/// What a caller gets who asks for more than is allowed: a sentence, with the error behind it for clients of ours.
fn invalid(error: &Error) -> Status {
    Status::invalid_argument(encode(error))
}

/// Who sent `request`, as the gate has found.
fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    Ok(Caller::of(request.extensions())?.clone())
}
