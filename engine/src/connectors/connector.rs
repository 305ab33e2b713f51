//! What the engine asks of a source of tables.
//!
//! ```text
//!  CREATE EXTERNAL TABLE … STORED AS X ──▶ factories ──▶ table ──encode_table──▶ scheduler ──decode_table──▶ scan()
//!                                                                                                              │
//!                      executors ◀──decode_node── one partition each ◀──encode_node── physical node ◀── rules ──┘
//! ```
//!
//! Everything that is special to a source is behind this trait: the codecs, the session's state, the metrics and the checks
//! of connections ask a list of connectors and know none of them. A program adds its own with
//! [`Config::with_connector`](crate::Config::with_connector); scheduler and executors have to know the same ones.
//!
//! A plan carries the *names* of connections and never an address or a credential. That holds for the bytes that
//! [`Connector::encode_table`] and [`Connector::encode_node`] make.

use std::any::Any;
use std::fmt::{self, Debug};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider, TableProviderFactory};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::logical_plan::{AsLogicalPlan, LogicalExtensionCodec};
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use prost::Message as _;

use crate::SqlLimits;
use crate::limits::check_plan;
use crate::wire::damaged;

/// A table factory, and the word behind `STORED AS` that it is for.
pub type Factory = (&'static str, Arc<dyn TableProviderFactory>);

/// A table that every session has from the start, and its name.
pub type BuiltinTable = (&'static str, Arc<dyn TableProvider>);

/// A point in the history of a MongoDB server: seconds since 1970, and the number of the operation within that second.
pub type ClusterTime = (u32, u32);

/// A kind of physical node that reads from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanNode {
    /// The node's name, as [`ExecutionPlan::name`] gives it.
    pub name: &'static str,
    /// The value of the label `source` in the metrics of executors.
    pub label: &'static str,
}

/// A source of tables.
///
/// One value serves a whole process: it plans on a scheduler and runs tasks on an executor. It is asked for its name and for
/// the four codec methods; every other method has a default that says "nothing of that kind".
#[async_trait]
pub trait Connector: Any + Debug + Send + Sync {
    /// A short name in lower case, such as `mongodb`: what plans carry to say whose a table or node is.
    fn name(&self) -> &'static str;

    /// The factories of `CREATE EXTERNAL TABLE … STORED AS …`.
    fn factories(&self) -> Vec<Factory> {
        Vec::new()
    }

    /// The tables that every session has from the start. Making one must not connect to a server.
    fn tables(&self) -> Result<Vec<BuiltinTable>> {
        Ok(Vec::new())
    }

    /// A table of this connector as bytes; `None` where the table is another's. Its schema travels beside it.
    fn encode_table(&self, table: &dyn TableProvider, encoder: &TableEncoder<'_>) -> Result<Option<Vec<u8>>>;

    /// The table in bytes of [`Self::encode_table`], with the schema that it had.
    fn decode_table(
        &self,
        bytes: &[u8],
        schema: SchemaRef,
        decoder: &TableDecoder<'_>,
    ) -> Result<Arc<dyn TableProvider>>;

    /// A physical node of this connector as bytes; `None` where the node is another's. Its inputs travel beside it.
    fn encode_node(&self, node: &dyn ExecutionPlan, encoder: &NodeEncoder<'_>) -> Result<Option<Vec<u8>>>;

    /// The node in bytes of [`Self::encode_node`], over these inputs.
    fn decode_node(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        decoder: &NodeDecoder<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>>;

    /// Rules that rewrite the physical plan of a query, after DataFusion's own. They run once, where the query is planned.
    fn rules(&self) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
        Vec::new()
    }

    /// The name of the connection that a table reads through; `None` where the table is another's or needs none.
    fn connection_of(&self, table: &dyn TableProvider) -> Option<String> {
        let _ = table;
        None
    }

    /// Checks that the server behind a connection answers. The error names the address and the setting.
    async fn check(&self, connection: &str) -> crate::Result<()> {
        let _ = connection;
        Ok(())
    }

    /// The point in time at which the query that is being planned reads through a connection; `None` without snapshots.
    async fn cluster_time(
        &self,
        connection: &str,
        planning: &dyn Session,
    ) -> crate::Result<Option<ClusterTime>> {
        let _ = (connection, planning);
        Ok(None)
    }

    /// The nodes of this connector whose rows, bytes and times executors count.
    fn scans(&self) -> &'static [ScanNode] {
        &[]
    }
}

/// Encodes the plans that are parts of a table.
#[derive(Clone, Copy)]
pub struct TableEncoder<'a> {
    codec: &'a dyn LogicalExtensionCodec,
}

impl<'a> TableEncoder<'a> {
    pub(crate) fn new(codec: &'a dyn LogicalExtensionCodec) -> Self {
        Self { codec }
    }

    /// A plan that is a part of a table, as bytes.
    pub fn plan(&self, plan: &LogicalPlan) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        LogicalPlanNode::try_from_logical_plan(plan, self.codec)?.try_encode(&mut bytes)?;
        Ok(bytes)
    }
}

/// Decodes the plans that are parts of a table.
#[derive(Clone, Copy)]
pub struct TableDecoder<'a> {
    codec: &'a dyn LogicalExtensionCodec,
    context: &'a TaskContext,
}

impl<'a> TableDecoder<'a> {
    pub(crate) fn new(codec: &'a dyn LogicalExtensionCodec, context: &'a TaskContext) -> Self {
        Self { codec, context }
    }

    /// The plan in bytes of [`TableEncoder::plan`].
    pub fn plan(&self, bytes: &[u8]) -> Result<LogicalPlan> {
        // It may come from a client, inside of another plan, where it was seen as bytes alone.
        check_plan(bytes, &SqlLimits { depth: SqlLimits::DEEPEST, ..SqlLimits::default() })?;
        LogicalPlanNode::try_decode(bytes)?.try_into_logical_plan(self.context, self.codec)
    }
}

/// Encodes the plans that are parts of a node.
#[derive(Clone, Copy)]
pub struct NodeEncoder<'a> {
    codec: &'a dyn PhysicalExtensionCodec,
    converter: &'a dyn PhysicalProtoConverterExtension,
}

impl<'a> NodeEncoder<'a> {
    pub(crate) fn new(
        codec: &'a dyn PhysicalExtensionCodec,
        converter: &'a dyn PhysicalProtoConverterExtension,
    ) -> Self {
        Self { codec, converter }
    }

    /// A plan that is a part of a node and not one of its inputs, as bytes.
    pub fn plan(&self, plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<u8>> {
        Ok(self.converter.execution_plan_to_proto(plan, self.codec)?.encode_to_vec())
    }
}

/// Decodes the plans that are parts of a node.
#[derive(Clone, Copy)]
pub struct NodeDecoder<'a> {
    codec: &'a dyn PhysicalExtensionCodec,
    converter: &'a dyn PhysicalProtoConverterExtension,
    context: &'a TaskContext,
}

impl<'a> NodeDecoder<'a> {
    pub(crate) fn new(
        codec: &'a dyn PhysicalExtensionCodec,
        converter: &'a dyn PhysicalProtoConverterExtension,
        context: &'a TaskContext,
    ) -> Self {
        Self { codec, converter, context }
    }

    /// The plan in bytes of [`NodeEncoder::plan`].
    pub fn plan(&self, bytes: &[u8]) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = PhysicalPlanNode::decode(bytes).map_err(damaged)?;
        let context = PhysicalPlanDecodeContext::new(self.context, self.codec);
        self.converter.proto_to_execution_plan(&plan, &context)
    }
}

impl Debug for TableEncoder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableEncoder").finish_non_exhaustive()
    }
}

impl Debug for TableDecoder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableDecoder").finish_non_exhaustive()
    }
}

impl Debug for NodeEncoder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeEncoder").finish_non_exhaustive()
    }
}

impl Debug for NodeDecoder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeDecoder").finish_non_exhaustive()
    }
}
