//! Scheduler and executors, each as a process of a cluster or both embedded in one process.
//!
//! ```text
//!  client ──plan──▶ scheduler ──tasks──▶ executor ──▶ task runtime (32 MiB stacks)
//!     ▲                 ▲   │               │  ▲
//!     │                 │   └── watches ────┘  └── shuffle files ── other executors
//!     │                 └── heartbeats, task states
//!     └── results, by Arrow Flight from the executors, or through the scheduler where it asks for tokens
//! ```
//!
//! Ballista's crates schedule and execute; this module composes them. Their own entry points are not used, because they
//! accept no further routes, metrics or sockets and handle signals themselves. A component is created from a
//! configuration and runs until a token is cancelled. When its `run` returns, everything that it started has ended.

mod config;
mod embedded;
mod executor;
mod exposure;
mod identity;
mod net;
mod scheduler;
mod served;

pub use config::{DEFAULT_SCHEDULER_PORT, ExecutorConfig, MemoryLimit, Mismatch, SchedulerConfig};
pub use executor::Executor;
pub use scheduler::Scheduler;
pub use served::Served;

pub(crate) use embedded::Embedded;
pub(crate) use executor::decoded_shuffle;
pub(crate) use exposure::check as check_exposure;
pub(crate) use scheduler::role_of_plan;
