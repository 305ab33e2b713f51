//! Placeholders for functions that this process has not registered.
//!
//! An executor that cannot decode a plan only logs that, and the client gets the error that a task "was rejected". So
//! an unknown name is decoded to a function that fails when it is called, with an error that names it and reaches the
//! client.

use std::hash::{Hash, Hasher};

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};

use crate::Error;

/// Describes this process in an error.
pub(crate) fn process(role: &str) -> String {
    format!("{role} (process {})", std::process::id())
}

#[derive(Debug)]
struct Missing {
    name: String,
    process: String,
    signature: Signature,
}

impl Missing {
    fn new(name: &str, process: String) -> Self {
        Self { name: name.to_owned(), process, signature: Signature::variadic_any(Volatility::Volatile) }
    }

    fn error(&self) -> Error {
        Error::UnknownFunction { name: self.name.clone(), process: self.process.clone() }
    }
}

impl PartialEq for Missing {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Missing {}

impl Hash for Missing {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// Creates a scalar function that fails when it is called.
pub(crate) fn missing_scalar(name: &str, process: String) -> ScalarUDF {
    ScalarUDF::from(Missing::new(name, process))
}

/// Creates an aggregate function that fails when its first group is created.
pub(crate) fn missing_aggregate(name: &str, process: String) -> AggregateUDF {
    AggregateUDF::from(Missing::new(name, process))
}

impl ScalarUDFImpl for Missing {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Null)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(self.error().into())
    }
}

impl AggregateUDFImpl for Missing {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Null)
    }

    fn state_fields(&self, _: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Field::new("state", DataType::Null, true).into()])
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Err(self.error().into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::error::DataFusionError;
    use datafusion::execution::TaskContext;
    use datafusion::physical_plan::collect;
    use datafusion::prelude::SessionContext;
    use datafusion_proto::physical_plan::AsExecutionPlan;
    use datafusion_proto::protobuf::PhysicalPlanNode;

    use super::*;
    use crate::Config;
    use crate::connectors::registry::Connectors;
    use crate::functions::{Aggregate, Functions};
    use crate::plan::codec;

    #[derive(Debug, Default)]
    struct Last(i64);

    impl Aggregate for Last {
        type Input = i64;
        type State = (i64,);
        type Output = i64;

        fn add(&mut self, value: i64) {
            self.0 = value;
        }

        fn state(&self) -> (i64,) {
            (self.0,)
        }

        fn merge(&mut self, (value,): (i64,)) {
            self.0 = value;
        }

        fn finish(&self) -> i64 {
            self.0
        }
    }

    #[tokio::test]
    async fn a_function_that_an_executor_lacks_fails_the_query_by_name() {
        let mut state = SessionContext::new().state();
        let functions = Functions::new().scalar("twice", |n: i64| 2 * n).aggregate::<Last>("last_one");
        functions.register(&mut state).unwrap();
        let context = SessionContext::new_with_state(state);
        let connectors = Arc::new(Connectors::new(&Config::default(), tokio::runtime::Handle::current()));
        let codec = codec::physical(&connectors);
        for (sql, function) in [
            ("SELECT twice(n) + 1 FROM (VALUES (1), (2)) AS t(n)", "twice"),
            ("SELECT n, last_one(n) FROM (VALUES (1), (2)) AS t(n) GROUP BY n", "last_one"),
            ("SELECT last_one(n) * 2 FROM (VALUES (1), (2)) AS t(n)", "last_one"),
        ] {
            let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
            collect(Arc::clone(&plan), context.task_ctx()).await.unwrap();
            let node = PhysicalPlanNode::try_from_physical_plan(plan, codec.as_ref()).unwrap();

            // This context has neither function.
            let elsewhere = Arc::new(TaskContext::default());
            let decoded = node.try_into_physical_plan(&elsewhere, codec.as_ref()).unwrap();
            let error = collect(decoded, elsewhere).await.unwrap_err();
            // The text in which the scheduler reports it to the client.
            let reported = format!("Job 7 failed: DataFusionError({error:?})");
            let error = Error::from(DataFusionError::Execution(reported));
            assert!(
                matches!(&error, Error::UnknownFunction { name, process }
                    if name == function && process.starts_with("an executor (process")),
                "{sql}: {error}"
            );
        }
    }
}
