//! `take` and `limit`: the first rows.

use super::{Dataset, Rows};
use crate::Result;

impl Dataset {
    /// Runs the plan and brings its first `count` rows here. Where the plan does not sort, any rows may be the first.
    pub async fn take(self, count: usize) -> Result<Rows> {
        self.limit(count)?.collect().await
    }

    /// At most `count` rows, not yet computed.
    pub fn limit(self, count: usize) -> Result<Self> {
        Ok(Self::new(self.frame.limit(0, Some(count))?))
    }
}
