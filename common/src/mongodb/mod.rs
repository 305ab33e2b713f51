//! The core of a MongoDB client.
//!
//! * [`client`]: a client of a server, calls with a time limit, facts about the driver's errors.
//! * [`code`]: the server's error codes, by name, with what is known of each.
//! * [`collection`]: what the server says of a collection.
//! * [`bulk`]: bulk writes: what fits into a command, the command, and what the reply says.
//!
//! Facts stand here and policies do not: a consumer waits for a server where a query ends, and both know why.

pub mod bulk;
pub mod client;
pub mod code;
pub mod collection;

pub use code::{Code, Fact};
pub use collection::CollectionInfo;
