//! `count`: how many rows there are.

use super::Dataset;
use crate::Result;
use futures::future::BoxFuture;

impl Dataset {
    /// Runs the plan and counts its rows.
    pub fn count(self) -> BoxFuture<'static, Result<u64>> {
        Box::pin(async move { Ok(self.frame.count().await? as u64) })
    }
}
