//! `count`: how many rows there are.

use super::Dataset;
use crate::Result;

impl Dataset {
    /// Runs the plan and counts its rows.
    pub async fn count(self) -> Result<u64> {
        Ok(self.frame.count().await? as u64)
    }
}
