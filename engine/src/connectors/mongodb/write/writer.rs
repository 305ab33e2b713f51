//! Sends upserts until the server has confirmed them, or a reason to give up. Every command is sent under the lease of the
//! executor, and the server gives it up when that ends: see [`lease`](crate::lease).

use std::time::Duration;

use arrow::record_batch::RecordBatch;
use bson::raw::cstr;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_plan::metrics::Count;
use firesteel_common::mongodb::Code;
use firesteel_common::mongodb::bulk::{Batch, MAX_BYTES, Reply};
use firesteel_common::mongodb::client::known_code;
use firesteel_common::retry::RetryPolicy;
use mongodb::Database;

use super::command::{Verdict, concern, verdict};
use super::encode::Encoder;
use crate::Error;
use crate::config::WriteConfig;
use crate::connectors::mongodb::connection::Connection;
use crate::connectors::mongodb::error::{is_transient, text};
use crate::lease::Tenure;

/// Writes the rows of one partition.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    pub(super) connection: &'a Connection,
    pub(super) database: Database,
    pub(super) collection: &'a str,
    pub(super) config: &'a WriteConfig,
    pub(super) encoder: Encoder,
    pub(super) waiting: Batch,
    /// The task's right to write.
    pub(super) tenure: Tenure,
    /// How often a command was sent again.
    pub(super) retries: Count,
}

impl Writer<'_> {
    /// Takes the rows of a batch; how many. They are durable after [`Self::finish`].
    pub(super) async fn write(&mut self, batch: &RecordBatch) -> Result<u64> {
        for row in 0..batch.num_rows() {
            let upsert = self.encoder.upsert(batch, row)?;
            if self.waiting.is_full_for(upsert.as_bytes().len(), MAX_BYTES, self.config.batch_rows) {
                self.flush().await?;
            }
            self.waiting.push(&upsert);
        }
        Ok(batch.num_rows() as u64)
    }

    /// Writes what still waits.
    pub(super) async fn finish(mut self) -> Result<()> {
        self.flush().await
    }

    async fn flush(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.waiting);
        if batch.is_empty() {
            return Ok(());
        }
        let mut backoff = RetryPolicy::default().backoff();
        loop {
            let allowed = self.tenure.allowed().await;
            let Err(error) = self.send(&batch, allowed).await else { return Ok(()) };
            let passes = matches!(error, DataFusionError::IoError(_));
            let attempt = backoff.attempts() + 1;
            if !passes || attempt >= self.config.attempts.get() {
                return Err(error);
            }
            let wait = backoff.next_delay();
            tracing::warn!(%error, attempt, ?wait, collection = self.collection, "cannot write yet");
            tokio::time::sleep(wait).await;
            self.retries.add(1);
        }
    }

    /// Sends one command, which the server works on for as long as is `allowed`. An I/O error is worth another try.
    async fn send(&self, batch: &Batch, allowed: Duration) -> Result<()> {
        let refused = |message| Error::WriteRefused { collection: self.collection.to_owned(), message };
        let again = |message| DataFusionError::IoError(std::io::Error::other(refused(message)));
        let mut command = batch.update(self.collection, concern(&self.config.write_concern));
        command.append(cstr!("maxTimeMS"), i64::try_from(allowed.as_millis()).unwrap_or(i64::MAX).max(1));
        let command = self.database.run_raw_command(command);
        // The server's own limit is only for the replication; this one holds whatever it does.
        let limit = self.config.write_concern.timeout.saturating_mul(2) + Duration::from_secs(5);
        let Ok(answer) = tokio::time::timeout(limit, command).await else {
            return Err(again(format!("no answer within {limit:?}")));
        };
        match answer {
            Ok(answer) => match verdict(&Reply::of(&answer), &self.config.key_fields) {
                Verdict::Written => Ok(()),
                Verdict::Again(message) => Err(again(message)),
                Verdict::Refused(message) => Err(refused(message).into()),
            },
            // The lease ended first, and may be renewed.
            Err(error) if known_code(&error) == Some(Code::MaxTimeMSExpired) => Err(again(text(&error))),
            Err(error) if is_transient(&error) => {
                Err(self.connection.failed("update", self.collection, &error))
            }
            Err(error) => Err(refused(text(&error)).into()),
        }
    }
}
