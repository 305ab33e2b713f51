//! `group_by_key`: all values of each key, as a list.

use datafusion::functions_aggregate::expr_fn::array_agg;

use super::Dataset;
use super::map::KeyValues;
use crate::Result;

impl KeyValues {
    /// A row of the parts of each key, then a list of its values for each part of the value, in no particular order.
    ///
    /// All values of a key are brought to one executor: where a reduction says the same, it is much cheaper.
    pub fn group_by_key(self) -> Result<Dataset> {
        self.aggregate_by_key(|value| value.iter().cloned().map(array_agg).collect::<Vec<_>>())
    }
}
