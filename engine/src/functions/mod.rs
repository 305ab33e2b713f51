//! Registered Rust functions, which run on the executors.
//!
//! A closure cannot be sent to an executor, which is another process. So a program *registers* functions by name in
//! [`Config::functions`](crate::Config::functions), and a plan carries only the name. Client, scheduler and executors
//! must register the same functions, which is the case if all of them run the same program. A process that does not
//! know a name reports an [`Error::UnknownFunction`].
//!
//! ```
//! use firesteel_engine::functions::{Aggregate, Functions};
//!
//! /// The difference between the largest and the smallest value.
//! #[derive(Debug, Default)]
//! struct Spread {
//!     range: Option<(f64, f64)>,
//! }
//!
//! impl Aggregate for Spread {
//!     type Input = f64;
//!     type State = (Option<f64>, Option<f64>);
//!     type Output = Option<f64>;
//!
//!     fn add(&mut self, value: f64) {
//!         let (low, high) = self.range.unwrap_or((value, value));
//!         self.range = Some((low.min(value), high.max(value)));
//!     }
//!     fn state(&self) -> Self::State {
//!         (self.range.map(|range| range.0), self.range.map(|range| range.1))
//!     }
//!     fn merge(&mut self, (low, high): Self::State) {
//!         low.into_iter().chain(high).for_each(|value| self.add(value));
//!     }
//!     fn finish(&self) -> Option<f64> {
//!         self.range.map(|(low, high)| high - low)
//!     }
//! }
//!
//! let functions = Functions::new()
//!     .scalar("is_wrong", |label: &str, predicted: &str| label != predicted)
//!     .aggregate::<Spread>("spread");
//! let config = firesteel_engine::Config { functions, ..Default::default() };
//! ```

mod aggregate;
mod argument;
pub(crate) mod bounded;
mod memory;
mod missing;
mod output;
mod parameter;
mod scalar;
mod vectorized;

use std::fmt;
use std::sync::Arc;

use datafusion::execution::FunctionRegistry;
use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

pub use aggregate::{Aggregate, State};
pub use argument::{Argument, Arguments};
pub use memory::Memory;
pub(crate) use missing::{missing_aggregate, missing_scalar, process};
pub use output::{Output, Value};
pub use parameter::{Literal, Parameter};
pub use scalar::Scalar;
pub use vectorized::Vectorized;
pub(crate) use vectorized::{calls_vectorized, vectorized_settings};

use crate::{Error, Result};

/// The functions that a program registers.
#[derive(Clone, Default)]
pub struct Functions {
    scalars: Vec<Arc<ScalarUDF>>,
    aggregates: Vec<Arc<AggregateUDF>>,
    /// The accounts of memory that functions keep between calls, by name.
    memories: Vec<(String, Memory)>,
    /// What tells on what the answers of functions depend beside their arguments, by name.
    fingerprints: Vec<(String, Fingerprint)>,
}

type Fingerprint = Arc<dyn Fn() -> String + Send + Sync>;

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Functions {
    /// Creates an empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a closure of one to six arguments as the scalar function `name`.
    ///
    /// Arguments are `&str`, `&[u8]`, `i64`, `f64`, `bool`, [`Timestamp`](crate::dataflow::Timestamp) and `Option`s of
    /// them; columns of narrower types are cast as in SQL. A null for an argument that is not an `Option` makes the
    /// result null without a call. A result is an owned value of these types, an `Option` of one, or a `Result` of
    /// either, whose error fails the query. The same arguments must give the same result: the planner may call the
    /// function once for many rows.
    #[must_use]
    pub fn scalar<M>(self, name: &str, function: impl Scalar<M>) -> Self {
        self.scalar_udf(scalar::udf(name, function))
    }

    /// Adds an [`Aggregate`] as the aggregate function `name`.
    #[must_use]
    pub fn aggregate<A: Aggregate>(self, name: &str) -> Self {
        self.aggregate_udf(aggregate::udf::<A>(name))
    }

    /// Adds a function of whole columns as a scalar function.
    #[must_use]
    pub fn vectorized(mut self, function: Vectorized) -> Self {
        self.memories.push((function.name().to_owned(), function.memory.clone()));
        self.scalar_udf(function.udf())
    }

    /// Adds a scalar function that is written against DataFusion.
    #[must_use]
    pub fn scalar_udf(mut self, function: impl Into<Arc<ScalarUDF>>) -> Self {
        self.scalars.push(function.into());
        self
    }

    /// Adds an aggregate function that is written against DataFusion.
    #[must_use]
    pub fn aggregate_udf(mut self, function: impl Into<Arc<AggregateUDF>>) -> Self {
        self.aggregates.push(function.into());
        self
    }

    /// Has `tell` say what the answers of the function `name` depend on beside its arguments, such as a model and its
    /// precision. A scheduler compares it with that of each executor, because one query would otherwise get answers of both.
    /// It is called in schedulers and executors alone, each time that one of them joins.
    #[must_use]
    pub fn fingerprint(
        mut self,
        name: impl Into<String>,
        tell: impl Fn() -> String + Send + Sync + 'static,
    ) -> Self {
        self.fingerprints.push((name.into(), Arc::new(tell)));
        self
    }

    /// What the answers of functions depend on beside their arguments, by name.
    pub(crate) fn fingerprints(&self) -> impl Iterator<Item = (&str, String)> {
        self.fingerprints.iter().map(|(name, tell)| (name.as_str(), tell()))
    }

    /// Returns the names in the order of their registration, scalar functions first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let scalars = self.scalars.iter().map(|function| function.name());
        scalars.chain(self.aggregates.iter().map(|function| function.name()))
    }

    /// Charges the memory that functions keep between calls to the pool of an executor.
    pub(crate) fn charge(&self, pool: &Arc<dyn MemoryPool>) {
        for (name, memory) in &self.memories {
            memory.charge(name, pool);
        }
    }

    /// Registers the functions in a state. A name that SQL cannot call, or that is already taken, is an
    /// [`Error::InvalidFunction`].
    pub(crate) fn register(&self, state: &mut SessionState) -> Result<()> {
        for name in self.names() {
            let invalid = |reason| Err(Error::InvalidFunction { name: name.to_owned(), reason });
            let identifier = name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
            if !identifier || !name.starts_with(|first: char| first.is_ascii_lowercase()) {
                return invalid(
                    "a name has lower-case letters, digits and underscores, and begins with a letter",
                );
            }
            if state.udf(name).is_ok() || state.udaf(name).is_ok() || state.udwf(name).is_ok() {
                return invalid("there is a function of this name already");
            }
            if self.names().filter(|other| *other == name).count() > 1 {
                return invalid("two functions have this name");
            }
        }
        for function in &self.scalars {
            state.register_udf(Arc::clone(function))?;
        }
        for function in &self.aggregates {
            state.register_udaf(Arc::clone(function))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;

    #[test]
    fn a_name_that_cannot_be_called_or_is_taken_is_refused() {
        let check = |functions: Functions, expected: Option<&str>| {
            let mut state = SessionContext::new().state();
            let error = functions.register(&mut state).err().map(|error| error.to_string());
            assert_eq!(error.is_some(), expected.is_some(), "{error:?}");
            assert!(expected.is_none_or(|word| error.unwrap_or_default().contains(word)));
        };
        let one = |name: &str| Functions::new().scalar(name, |x: i64| x);
        check(one("double_2"), None);
        check(one("isWrong"), Some("isWrong"));
        check(one(""), Some("letter"));
        check(one("2x"), Some("letter"));
        check(one("upper"), Some("already"));
        check(one("sum"), Some("already"));
        check(one("twice").scalar("twice", |x: i64| x), Some("two functions"));
        assert_eq!(format!("{:?}", one("f").scalar("g", |x: f64| x)), r#"["f", "g"]"#);
    }
}
