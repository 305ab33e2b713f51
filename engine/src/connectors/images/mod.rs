//! The source of images in files: a folder as a table with a row a file.
//!
//! ```text
//!  table ──scan()──▶ listing of the folder ──filters──▶ files ──spread by size──▶ parts
//!                                                                                   │ one descriptor a partition
//!  batches of some MiB ◀── bytes of each file ◀── reader ◀── scan node
//! ```
//!
//! Guarantees, each with a test: a query that asks for no image opens no file; a filter over what a listing knows leaves files
//! out before they are opened; which files are read is decided once, when the query is planned, and a file that has changed
//! since is an error or a row that says so; a task holds one batch, which is bounded in bytes. Files are listed and opened
//! through the process's object stores, so only those below an allowed folder are, and no link leads out.

mod codec;
mod config;
mod context;
mod error;
mod folder;
mod pattern;
mod plan;
mod read;
mod schema;
mod write;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;

use self::context::Context;
use self::plan::factory::ImageTableFactory;
use crate::connectors::connector::{
    Connector, Factory, NodeDecoder, NodeEncoder, ScanNode, TableDecoder, TableEncoder,
};
use crate::connectors::registry::Shared;
use crate::functions::Functions;

/// The word behind `STORED AS`.
pub(crate) const STORED_AS: &str = "IMAGES";

/// Reads the location and the options of a table, and keeps nothing.
pub(crate) fn check_options(location: &str, given: &HashMap<String, String>) -> crate::Result<()> {
    config::table_options(location, given).map(drop)
}

/// The connector of a process for folders of images.
#[derive(Debug)]
pub(crate) struct Images {
    context: Context,
}

impl Images {
    /// The connector of a process that has these functions.
    pub(crate) fn new(functions: &Functions, shared: &Shared) -> Self {
        let (files, slots) = (Arc::clone(&shared.files), shared.slots.clone());
        Self { context: Context { files, slots, functions: functions.clone() } }
    }
}

#[async_trait]
impl Connector for Images {
    fn name(&self) -> &'static str {
        "images"
    }

    fn factories(&self) -> Vec<Factory> {
        vec![(STORED_AS, Arc::new(ImageTableFactory::new(self.context.clone())))]
    }

    fn encode_table(&self, table: &dyn TableProvider, _: &TableEncoder<'_>) -> Result<Option<Vec<u8>>> {
        Ok(codec::encode_table(table))
    }

    fn decode_table(
        &self,
        bytes: &[u8],
        _: SchemaRef,
        _: &TableDecoder<'_>,
    ) -> Result<Arc<dyn TableProvider>> {
        codec::decode_table(&self.context, bytes)
    }

    fn encode_node(&self, node: &dyn ExecutionPlan, _: &NodeEncoder<'_>) -> Result<Option<Vec<u8>>> {
        Ok(codec::encode_node(node))
    }

    fn decode_node(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &NodeDecoder<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        codec::decode_node(&self.context, bytes, inputs)
    }

    fn scans(&self) -> &'static [ScanNode] {
        &[ScanNode { name: "ImageScanExec", label: "images" }]
    }
}
