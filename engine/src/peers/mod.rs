//! Connections between the processes of a cluster: what each of them has, and a pool of those from which results come.

mod clients;
mod endpoint;

pub(crate) use clients::{Address, Clients, lost_connection};
pub(crate) use endpoint::{authority, customize, host_and_port, limited, patient};
