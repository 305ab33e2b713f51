//! A cached table as a table provider.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::connectors::cache::connection::{CacheStore, Folder};
use crate::connectors::cache::read::scan::CachedScanExec;
use crate::connectors::cache::read::spec::{CachedScanSpec, Part, Stamp};

/// The content of a table as it was.
#[derive(Clone, Debug)]
pub(crate) struct CachedTable {
    pub(crate) store: Arc<CacheStore>,
    pub(crate) folder: Folder,
    pub(crate) schema: SchemaRef,
    pub(crate) parts: Vec<Part>,
    pub(crate) stamp: Stamp,
}

impl CachedTable {
    pub(crate) fn rows(&self) -> u64 {
        self.parts.iter().map(|part| part.rows).sum()
    }
}

#[async_trait]
impl TableProvider for CachedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let columns = projection.unwrap_or(&all);
        let spec = CachedScanSpec {
            folder: self.folder.clone(),
            schema: Arc::new(self.schema.project(columns)?),
            columns: columns.iter().map(|column| u32::try_from(*column).unwrap_or(u32::MAX)).collect(),
            limit: limit.and_then(|limit| u64::try_from(limit).ok()),
            stamp: self.stamp,
        };
        let partitions = distribute(&self.parts, state.config().target_partitions());
        Ok(Arc::new(CachedScanExec::try_new(spec, Arc::clone(&self.store), &partitions)?))
    }
}

/// Deals parts out to at most `partitions` partitions, neighbours together, each with about as many rows.
fn distribute(parts: &[Part], partitions: usize) -> Vec<Vec<Part>> {
    let total: u64 = parts.iter().map(|part| part.rows).sum();
    let partitions = partitions.clamp(1, parts.len().max(1));
    let mut dealt: Vec<Vec<Part>> = vec![Vec::new(); partitions];
    let mut before: u64 = 0;
    for part in parts {
        // The partition in which the middle of this part lies.
        let middle = u128::from(before) * 2 + u128::from(part.rows);
        let index = (middle * partitions as u128).checked_div(u128::from(total) * 2).unwrap_or_default();
        let index = usize::try_from(index).unwrap_or(usize::MAX).min(partitions - 1);
        dealt[index].push(part.clone());
        before += part.rows;
    }
    dealt
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_part_is_dealt_once(rows in prop::collection::vec(0..1000_u64, 0..40), partitions in 0..12_usize) {
            let parts: Vec<Part> = rows
                .iter()
                .enumerate()
                .map(|(index, rows)| Part { file: format!("f{}", index % 3).into(), row_group: index as u32, rows: *rows })
                .collect();
            let dealt = distribute(&parts, partitions);
            prop_assert!(!dealt.is_empty() && dealt.len() <= partitions.max(1));
            prop_assert_eq!(dealt.concat(), parts);
            let largest = rows.iter().max().copied().unwrap_or_default();
            let even = rows.iter().sum::<u64>() / dealt.len() as u64;
            for partition in &dealt {
                prop_assert!(partition.iter().map(|part| part.rows).sum::<u64>() <= even + largest + 1);
            }
        }
    }
}
