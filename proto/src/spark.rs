//! The messages and the service of Spark Connect, Spark's protocol for clients.
//!
//! The files in `proto/spark/connect` have what this server reads and writes. [`Status`] and [`ErrorInfo`] are how gRPC
//! carries an error's class beside its message.

/// What prost and tonic generate of the package `spark.connect`.
#[expect(missing_docs, reason = "generated code; the .proto files carry the documentation")]
#[allow(clippy::all, clippy::pedantic, clippy::clone_on_ref_ptr, unreachable_pub, reason = "generated code")]
pub mod connect {
    tonic::include_proto!("spark.connect");
}

pub use prost_types::Any;

/// `google.rpc.Status`: an error with details, in the trailer `grpc-status-details-bin`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Status {
    /// The code of gRPC.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// The message.
    #[prost(string, tag = "2")]
    pub message: String,
    /// The details, each with its type.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

/// `google.rpc.ErrorInfo`: the class of an error.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ErrorInfo {
    /// The name of the error's class.
    #[prost(string, tag = "1")]
    pub reason: String,
    /// Whose classes they are.
    #[prost(string, tag = "2")]
    pub domain: String,
    /// What a client reads.
    #[prost(map = "string, string", tag = "3")]
    pub metadata: std::collections::HashMap<String, String>,
}
