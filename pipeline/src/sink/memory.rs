//! A sink in memory: the behaviour that the suite in `conformance` was written against first.

use super::{Sink, Written};
use crate::error::Result;
use async_trait::async_trait;
use firesteel_proto::{ImageId, PredictionRecord};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Keeps predictions in a map.
#[derive(Debug, Default)]
pub struct MemorySink {
    records: Mutex<BTreeMap<ImageId, PredictionRecord>>,
}

impl MemorySink {
    /// Everything that was written, in the order of ids.
    #[must_use]
    pub fn records(&self) -> Vec<PredictionRecord> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

#[async_trait]
impl Sink for MemorySink {
    async fn write(&self, batch: &[PredictionRecord]) -> Result<Written> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let mut written = Written::default();
        for (index, record) in batch.iter().enumerate() {
            match records.get(&record.id) {
                Some(known) if !record.replaces(known) => written.superseded.push(index),
                _ => drop(records.insert(record.id, record.clone())),
            }
        }
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_conforms() {
        let sink = MemorySink::default();
        super::super::conformance::suite(&sink, async || sink.records()).await;
    }
}
