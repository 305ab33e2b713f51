//! Rows from memory as a connector: all that a program has to write for a source of its own, and a pattern for others.

use std::any::type_name;
use std::fmt;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::metrics::BaselineMetrics;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan};
use firesteel_engine::connectors::{
    BuiltinTable, Connector, Execution, Input, NodeDecoder, NodeEncoder, Operator, OperatorExec, ScanNode,
    TableDecoder, TableEncoder, bytes_scanned, one_input,
};
use futures::{StreamExt as _, TryStreamExt as _};

/// The connector `memory` with its one table, `numbers`: one partition a batch. Each process reads the rows of its own.
#[derive(Clone, Debug)]
pub struct MemoryConnector(pub Arc<Vec<RecordBatch>>);

/// What all partitions of a scan share.
#[derive(Debug)]
struct MemoryScan {
    rows: Arc<Vec<RecordBatch>>,
    columns: Vec<usize>,
    limit: usize,
}

fn damaged() -> DataFusionError {
    DataFusionError::Internal(format!("not what {} sent", type_name::<MemoryConnector>()))
}

#[async_trait]
impl Connector for MemoryConnector {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn tables(&self) -> Result<Vec<BuiltinTable>> {
        Ok(vec![("numbers", Arc::new(self.clone()))])
    }

    fn encode_table(&self, table: &dyn TableProvider, _: &TableEncoder<'_>) -> Result<Option<Vec<u8>>> {
        Ok(table.is::<Self>().then(Vec::new))
    }

    fn decode_table(&self, _: &[u8], _: SchemaRef, _: &TableDecoder<'_>) -> Result<Arc<dyn TableProvider>> {
        Ok(Arc::new(self.clone()))
    }

    fn encode_node(&self, node: &dyn ExecutionPlan, _: &NodeEncoder<'_>) -> Result<Option<Vec<u8>>> {
        let Some(scan) = node.downcast_ref::<OperatorExec<MemoryScan>>() else { return Ok(None) };
        let scan = scan.operator();
        let numbers = std::iter::once(scan.limit).chain(scan.columns.iter().copied());
        Ok(Some(numbers.flat_map(|number| (number as u64).to_le_bytes()).collect()))
    }

    fn decode_node(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &NodeDecoder<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let number = |bytes: &[u8]| Ok(u64::from_le_bytes(bytes.try_into().map_err(|_| damaged())?) as usize);
        let numbers = bytes.chunks(8).map(number).collect::<Result<Vec<usize>>>()?;
        let (limit, columns) = numbers.split_first().ok_or_else(damaged)?;
        let scan = MemoryScan { rows: Arc::clone(&self.0), columns: columns.to_vec(), limit: *limit };
        Ok(Arc::new(OperatorExec::new(scan, one_input("a scan of memory", inputs)?)))
    }

    fn scans(&self) -> &'static [ScanNode] {
        &[ScanNode { name: "MemoryScanExec", label: "memory" }]
    }
}

#[async_trait]
impl TableProvider for MemoryConnector {
    fn schema(&self) -> SchemaRef {
        self.0[0].schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all = || (0..self.schema().fields().len()).collect();
        let columns = projection.cloned().unwrap_or_else(all);
        let scan = MemoryScan { rows: Arc::clone(&self.0), columns, limit: limit.unwrap_or(usize::MAX) };
        let schema = Arc::new(Schema::new(vec![Field::new("batch", DataType::UInt32, false)]));
        let describe = |batch: u32| {
            let column = Arc::new(UInt32Array::from(vec![batch]));
            Ok(RecordBatch::try_new(Arc::clone(&schema), vec![column])?)
        };
        let descriptors = (0..self.0.len() as u32).map(describe).collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(OperatorExec::over(scan, Arc::clone(&schema), descriptors)?))
    }
}

impl Operator for MemoryScan {
    fn name(&self) -> &'static str {
        "MemoryScanExec"
    }

    fn schema(&self) -> SchemaRef {
        Arc::new(self.rows[0].schema().project(&self.columns).expect("columns of the table"))
    }

    fn fmt_as(&self, input: &Input<'_>, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryScanExec: partitions={}, columns={:?}", input.partitions(), self.columns)
    }

    fn execute(
        self: Arc<Self>,
        descriptors: SendableRecordBatchStream,
        Execution { partition, metrics, .. }: Execution<'_>,
    ) -> Result<SendableRecordBatchStream> {
        let (baseline, bytes) = (BaselineMetrics::new(metrics, partition), bytes_scanned(metrics, partition));
        let schema = self.schema();
        let rows = descriptors.and_then(move |descriptor| {
            let number = descriptor.column(0).as_primitive::<UInt32Type>().value(0);
            let batch = &self.rows[number as usize];
            let batch = batch.slice(0, batch.num_rows().min(self.limit)).project(&self.columns);
            if let Ok(batch) = &batch {
                baseline.record_output(batch.num_rows());
                bytes.add(batch.get_array_memory_size());
            }
            futures::future::ready(batch.map_err(DataFusionError::from))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows.boxed())))
    }
}
