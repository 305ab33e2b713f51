//! Scalar functions written as closures of one to six arguments, which are called once per row.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use datafusion::scalar::ScalarValue;

use super::argument::Argument;
use super::output::{Output, Value};
use crate::Error;

/// A closure that can be registered. `M` is its signature, which the compiler infers.
pub trait Scalar<M>: Send + Sync + 'static {
    /// Returns the types of the arguments.
    #[doc(hidden)]
    fn arguments() -> Vec<DataType>;
    /// Returns the type of the result.
    #[doc(hidden)]
    fn output() -> DataType;
    /// Calls the closure once per row. The columns must have the types of the arguments.
    #[doc(hidden)]
    fn apply(&self, columns: &[ArrayRef]) -> Result<ArrayRef, String>;
}

macro_rules! scalar_of_closure {
    ($($part:ident $index:tt),+) => {
        // From the first bound the compiler infers the argument types; the second lets the closure take them with any
        // lifetime.
        #[allow(non_snake_case, reason = "the type parameters name the parts")]
        impl<Fun, Out, $($part),+> Scalar<fn($($part),+) -> Out> for Fun
        where
            Out: Output,
            $($part: Argument,)+
            Fun: Fn($($part),+) -> Out + for<'a> Fn($($part::Item<'a>),+) -> Out + Send + Sync + 'static,
        {
            fn arguments() -> Vec<DataType> {
                vec![$($part::data_type()),+]
            }

            fn output() -> DataType {
                Out::Value::data_type()
            }

            fn apply(&self, columns: &[ArrayRef]) -> Result<ArrayRef, String> {
                fn call<Out, $($part),+>(function: impl Fn($($part),+) -> Out, $($part: $part),+) -> Out {
                    function($($part),+)
                }
                let other = || "its arguments have other types than it was planned with".to_owned();
                $(
                    let $part = columns.get($index).ok_or_else(other)?;
                    let $part = $part.as_any().downcast_ref::<$part::Column>().ok_or_else(other)?;
                )+
                let rows = columns.first().map_or(0, |column| column.len());
                let value = |row| match ($($part::item($part, row),)+) {
                    ($(Some($part),)+) => call(self, $($part),+).into_value(),
                    _ => Ok(None),
                };
                Ok(Out::Value::array((0..rows).map(value).collect::<Result<_, _>>()?))
            }
        }
    };
}
scalar_of_closure!(A 0);
scalar_of_closure!(A 0, B 1);
scalar_of_closure!(A 0, B 1, C 2);
scalar_of_closure!(A 0, B 1, C 2, D 3);
scalar_of_closure!(A 0, B 1, C 2, D 3, E 4);
scalar_of_closure!(A 0, B 1, C 2, D 3, E 4, F 5);

/// Creates the function that DataFusion calls.
pub(super) fn udf<M, F: Scalar<M>>(name: &str, function: F) -> ScalarUDF {
    let owned = name.to_owned();
    let invoke = move |arguments: &[ColumnarValue]| {
        let constant = arguments.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let columns = ColumnarValue::values_to_arrays(arguments)?;
        let result = function
            .apply(&columns)
            .map_err(|message| Error::FunctionFailed { name: owned.clone(), message })?;
        Ok(if constant {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)
        } else {
            ColumnarValue::Array(result)
        })
    };
    create_udf(name, F::arguments(), F::output(), Volatility::Immutable, Arc::new(invoke))
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array, StringArray};
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::value::Timestamp;

    fn apply<M, F: Scalar<M>>(function: F, columns: &[ArrayRef]) -> Result<ArrayRef, String> {
        let result = function.apply(columns)?;
        assert_eq!(result.data_type(), &F::output());
        Ok(result)
    }

    #[test]
    fn a_null_is_null_unless_the_function_wants_to_see_it() {
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("ccc")]));
        let number: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(2), None]));
        let columns = [text, number];
        let strict = apply(|text: &str, n: i64| text.len() as i64 + n, &columns).unwrap();
        assert_eq!(strict.as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [Some(2), None, None]);
        let seen = |text: Option<&str>, n: Option<i64>| format!("{text:?} {n:?}");
        let lax = apply(seen, &columns).unwrap();
        let lax: Vec<_> = lax.as_string::<i32>().iter().flatten().collect();
        assert_eq!(lax, [r#"Some("a") Some(1)"#, "None Some(2)", r#"Some("ccc") None"#]);
    }

    #[test]
    fn results_may_be_missing_or_errors() {
        let number: ArrayRef = Arc::new(Int64Array::from(vec![4, 0]));
        let halves = apply(|n: i64| (n != 0).then_some(n / 2), &[Arc::clone(&number)]).unwrap();
        assert_eq!(halves.as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [Some(2), None]);
        let inverse = |n: i64| if n == 0 { Err("division by zero") } else { Ok(Timestamp::from_millis(n)) };
        assert_eq!(apply(inverse, &[number]).unwrap_err(), "division by zero");
        assert!(apply(|n: f64| n, &[Arc::new(Int64Array::from(vec![1])) as ArrayRef]).is_err());
    }

    #[test]
    fn constants_give_a_constant() {
        let twice = udf("twice", |n: i64| 2 * n);
        let arguments = [ColumnarValue::Scalar(ScalarValue::Int64(Some(4)))];
        let signature = twice.signature().clone();
        assert!(format!("{signature:?}").contains("Int64"), "{signature:?}");
        let arguments = datafusion::logical_expr::ScalarFunctionArgs {
            args: arguments.to_vec(),
            arg_fields: vec![],
            number_rows: 7,
            return_field: Arc::new(arrow::datatypes::Field::new("x", DataType::Int64, true)),
            config_options: Arc::default(),
        };
        let result = twice.invoke_with_args(arguments).unwrap();
        assert!(matches!(result, ColumnarValue::Scalar(ScalarValue::Int64(Some(8)))));
    }
}
