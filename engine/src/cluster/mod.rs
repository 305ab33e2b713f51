//! The scheduler and the executors: the parts that a cluster has as processes, and the embedded engine in this one.
//!
//! ```text
//!  client ──plan──▶ scheduler ──tasks──▶ executor ──▶ task runtime (32 MiB stacks)
//!     ▲                 ▲   │               │  ▲
//!     │                 │   └── watches ────┘  └── shuffle files ── other executors
//!     │                 └── heartbeats, task states
//!     └── results, by Arrow Flight from the executors
//! ```
//!
//! Ballista's crates do the scheduling; this module composes them, because their own entry points cannot carry our
//! routes, our metrics or our sockets, and handle signals themselves. A component is made from a configuration, runs
//! until a token is cancelled, and has then ended everything that it started.

mod config;
mod executor;
mod http;
mod net;
mod scheduler;

pub use config::{DEFAULT_SCHEDULER_PORT, ExecutorConfig, MemoryLimit, SchedulerConfig};
pub use executor::Executor;
pub use http::Served;
pub use scheduler::Scheduler;

pub(crate) use executor::{Home, Incarnation, STACK_BYTES};
pub(crate) use net::MAX_MESSAGE;
