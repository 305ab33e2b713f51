//! What reads bytes of strangers, each as a function of bytes alone, for the fuzz targets.
//!
//! Nothing here connects to anything. A result is of no interest: whatever the bytes are, the call returns.

mod shuffle;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bson::RawDocument;
use datafusion::common::TableReference;
use datafusion::error::DataFusionError;
use datafusion::execution::{SessionState, TaskContext};
use datafusion_proto::logical_plan::{AsLogicalPlan as _, LogicalExtensionCodec};
use datafusion_proto::physical_plan::{
    AsExecutionPlan as _, DefaultPhysicalProtoConverter, PhysicalExtensionCodec,
};
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use tokio::runtime::Runtime;

use crate::config::ReadMode;
use crate::connectors::mongodb::{DecodeOptions, Decoder};
use crate::connectors::registry::Connectors;
use crate::connectors::{images, kafka, mongodb};
use crate::limits::{check_plan, check_sql};
use crate::plan::codec;
use crate::plan::state::{Role, session_config, session_state};
use crate::query::sql::cache_statement;
use crate::{Config, Result, SqlLimits, predictions_schema};

/// A process that decodes, as a scheduler and an executor do.
pub struct Reader {
    logical: Arc<dyn LogicalExtensionCodec>,
    physical: Arc<dyn PhysicalExtensionCodec>,
    state: SessionState,
    context: Arc<TaskContext>,
    limits: SqlLimits,
    /// What other executors send when nothing is wrong.
    shuffles: Vec<shuffle::Sent>,
    /// Connectors keep a handle to it.
    _runtime: Runtime,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

impl Reader {
    /// Creates one with the default settings.
    ///
    /// # Errors
    /// Without a runtime or a session.
    pub fn new() -> Result<Self> {
        let runtime = Runtime::new().map_err(DataFusionError::IoError)?;
        let config = Config::default();
        let connectors = Arc::new(Connectors::new(&config, runtime.handle().clone()));
        let state = session_state(Role::Scheduler, session_config(&config, &connectors), &connectors)?;
        Ok(Self {
            logical: codec::logical(&connectors),
            physical: codec::physical(&connectors),
            context: state.task_ctx(),
            limits: *connectors.limits(),
            shuffles: shuffle::sent().map_err(DataFusionError::from)?,
            state,
            _runtime: runtime,
        })
    }

    /// A plan as a client sends it, and then what a plan holds of a connector's.
    pub fn logical_plan(&self, bytes: &[u8]) {
        if check_plan(bytes, &self.limits).is_err() {
            return;
        }
        // As at the scheduler's door.
        caught(|| {
            if let Ok(node) = LogicalPlanNode::try_decode(bytes) {
                let _ = node.try_into_logical_plan(&self.context, self.logical.as_ref());
            }
        });
        let (table, schema) = (TableReference::bare("t"), predictions_schema());
        let _ = self.logical.try_decode(bytes, &[], &self.context);
        let _ = self.logical.try_decode_table_provider(bytes, &table, schema, &self.context);
    }

    /// A plan as a scheduler sends it, and then a node of a connector's.
    pub fn physical_plan(&self, bytes: &[u8]) {
        // As where an executor takes its orders.
        caught(|| {
            if let Ok(node) = PhysicalPlanNode::try_decode(bytes) {
                let _ = node.try_into_physical_plan(&self.context, self.physical.as_ref());
            }
        });
        caught(|| {
            let _ = self.physical.try_decode(bytes, &[], &self.context, &DefaultPhysicalProtoConverter {});
        });
    }

    /// A shuffle file as another executor sends it: which one, how it is cut, and what is changed in it.
    pub fn shuffle(&self, bytes: &[u8]) {
        shuffle::read(&self.shuffles, bytes);
    }

    /// Documents of a server of MongoDB, in each mode of reading.
    pub fn documents(&self, bytes: &[u8]) {
        let Ok(document) = RawDocument::from_bytes(bytes) else { return };
        let schema = predictions_schema();
        for mode in [ReadMode::FailFast, ReadMode::Permissive, ReadMode::DropMalformed] {
            let options = DecodeOptions { mode, ..DecodeOptions::default() };
            let Ok(mut decoder) = Decoder::reading("fuzz", Arc::clone(&schema), 16, &options) else {
                continue;
            };
            if decoder.push(document).and_then(|()| decoder.push(document)).is_ok() {
                let _ = decoder.finish();
            }
        }
    }

    /// The options of a table: lines of a name, an equals sign and a value.
    pub fn options(&self, text: &str) {
        let given: HashMap<String, String> = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let _ = mongodb::check_options(&given);
        let location = text.lines().next().unwrap_or_default();
        let _ = kafka::check_options(location, &given);
        let _ = images::check_options(location, &given);
    }

    /// A statement, up to its syntax tree.
    pub fn sql(&self, text: &str) {
        if check_sql(text, &self.limits).is_err() {
            return;
        }
        let _ = cache_statement(text);
        let dialect = self.state.config().options().sql_parser.dialect;
        let _ = self.state.sql_to_statement(text, &dialect);
    }
}

/// Calls a decoder that takes for granted what a message may leave out: whoever calls it elsewhere catches its panics.
fn caught(decode: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(decode));
}
