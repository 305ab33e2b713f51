//! Aggregate functions written as Rust types.
//!
//! DataFusion drives an [`Aggregate`] as an accumulator: rows are added on each partition, the states travel as
//! columns, are merged, and the last one gives the result.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Accumulator, AggregateUDF, Volatility, create_udaf};
use datafusion::scalar::ScalarValue;

use super::argument::Arguments;
use super::output::{Output, Value};
use crate::Error;
use crate::value::{FromRow, FromValue};

/// An aggregate function, whose value is the state of one group.
///
/// Each partition adds its rows to states of its own. States travel between executors as columns and are merged, and
/// the last one gives the result. `merge` must be associative and commutative, and merging a default state must change
/// nothing.
pub trait Aggregate: Debug + Default + Send + Sync + 'static {
    /// The arguments of one row: an [`Argument`](super::Argument), or a tuple of them. A row with a null for an
    /// argument that is not an `Option` is skipped.
    type Input: Arguments;
    /// The state that travels between executors: a tuple of owned values. Several can be packed into one `Vec<u8>`.
    type State: State;
    /// The type of the result.
    type Output: Output;

    /// Adds a row.
    fn add(&mut self, input: <Self::Input as Arguments>::Items<'_>);
    /// Returns the state that travels to another executor.
    fn state(&self) -> Self::State;
    /// Merges another state into this one.
    fn merge(&mut self, other: Self::State);
    /// Returns the result.
    fn finish(&self) -> Self::Output;
    /// Returns the size of the state in bytes, which counts towards the memory limit. Override it if the state grows.
    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The state of an [`Aggregate`] between executors: a tuple of owned values, or of `Option`s of them.
pub trait State: FromRow {
    /// Returns the Arrow types of the parts.
    #[doc(hidden)]
    fn data_types() -> Vec<DataType>;
    /// Returns one scalar per part.
    #[doc(hidden)]
    fn scalars(self) -> Result<Vec<ScalarValue>>;
}

fn scalar<O: Output>(part: O) -> Result<ScalarValue> {
    let value = part.into_value().map_err(DataFusionError::Execution)?;
    ScalarValue::try_from_array(&O::Value::array(vec![value]), 0)
}

macro_rules! state_of_tuple {
    ($($part:ident $index:tt),+) => {
        impl<$($part: Output + FromValue),+> State for ($($part,)+) {
            fn data_types() -> Vec<DataType> {
                vec![$($part::Value::data_type()),+]
            }

            fn scalars(self) -> Result<Vec<ScalarValue>> {
                Ok(vec![$(scalar(self.$index)?),+])
            }
        }
    };
}
state_of_tuple!(A 0);
state_of_tuple!(A 0, B 1);
state_of_tuple!(A 0, B 1, C 2);
state_of_tuple!(A 0, B 1, C 2, D 3);
state_of_tuple!(A 0, B 1, C 2, D 3, E 4);
state_of_tuple!(A 0, B 1, C 2, D 3, E 4, F 5);

/// Adapts an [`Aggregate`] to DataFusion's accumulator.
#[derive(Debug)]
struct AggregateAccumulator<A> {
    name: String,
    aggregate: A,
}

impl<A: Aggregate> Accumulator for AggregateAccumulator<A> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let columns: Vec<&dyn Array> = values.iter().map(|column| column as &dyn Array).collect();
        A::Input::each(&columns, |input| self.aggregate.add(input)).ok_or_else(|| {
            let message = "its arguments have other types than it was planned with".to_owned();
            Error::FunctionFailed { name: self.name.clone(), message }.into()
        })
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = self.aggregate.finish().into_value();
        let value = value.map_err(|message| Error::FunctionFailed { name: self.name.clone(), message })?;
        scalar(value)
    }

    fn size(&self) -> usize {
        self.aggregate.size() + self.name.capacity() + size_of::<Self>() - size_of::<A>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.aggregate.state().scalars()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let mut rows = Vec::new();
        A::State::read(states, &mut rows)?;
        rows.into_iter().for_each(|state| self.aggregate.merge(state));
        Ok(())
    }
}

/// Creates the function that DataFusion calls.
pub(super) fn udf<A: Aggregate>(name: &str) -> AggregateUDF {
    let owned = name.to_owned();
    let output = <A::Output as Output>::Value::data_type();
    create_udaf(
        name,
        A::Input::data_types(),
        Arc::new(output),
        Volatility::Immutable,
        Arc::new(move |arguments| {
            if arguments.is_distinct {
                let message = "DISTINCT is for the aggregates that come with the engine".to_owned();
                return Err(Error::FunctionFailed { name: owned.clone(), message }.into());
            }
            Ok(Box::new(AggregateAccumulator { name: owned.clone(), aggregate: A::default() }))
        }),
        Arc::new(A::State::data_types()),
    )
}

#[cfg(test)]
mod tests {
    use arrow::array::Float64Array;
    use proptest::prelude::*;

    use super::*;

    /// The mean of the first argument, weighted by the second.
    #[derive(Debug, Default)]
    struct Weighted {
        sum: f64,
        weight: f64,
    }

    impl Aggregate for Weighted {
        type Input = (f64, f64);
        type State = (f64, f64);
        type Output = Option<f64>;

        fn add(&mut self, (value, weight): (f64, f64)) {
            self.sum += value * weight;
            self.weight += weight;
        }

        fn state(&self) -> (f64, f64) {
            (self.sum, self.weight)
        }

        fn merge(&mut self, (sum, weight): (f64, f64)) {
            self.sum += sum;
            self.weight += weight;
        }

        fn finish(&self) -> Option<f64> {
            (self.weight > 0.0).then(|| self.sum / self.weight)
        }
    }

    fn accumulator() -> AggregateAccumulator<Weighted> {
        AggregateAccumulator { name: "weighted".to_owned(), aggregate: Weighted::default() }
    }

    fn columns(rows: &[(Option<i32>, Option<u8>)]) -> [ArrayRef; 2] {
        let values = rows.iter().map(|(value, _)| value.map(f64::from));
        let weights = rows.iter().map(|(_, weight)| weight.map(f64::from));
        [Arc::new(values.collect::<Float64Array>()), Arc::new(weights.collect::<Float64Array>())]
    }

    proptest! {
        #[test]
        fn states_that_travel_give_what_one_pass_gives(
            // Whole numbers have exact sums, so the order of additions does not matter.
            parts in prop::collection::vec(prop::collection::vec((prop::option::of(-1_000..1_000), any::<Option<u8>>()), 0..20), 1..5),
        ) {
            let mut merged = accumulator();
            for part in &parts {
                let mut one = accumulator();
                one.update_batch(&columns(part)).unwrap();
                let state = one.state().unwrap();
                let state: Vec<ArrayRef> =
                    state.iter().map(|scalar| scalar.to_array_of_size(1).unwrap()).collect();
                merged.merge_batch(&state).unwrap();
            }
            let mut whole = accumulator();
            whole.update_batch(&columns(&parts.concat())).unwrap();
            prop_assert_eq!(merged.evaluate().unwrap(), whole.evaluate().unwrap());
        }
    }
}
