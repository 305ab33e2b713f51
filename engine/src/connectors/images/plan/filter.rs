//! Which filters need no file: those that a listing answers, for which files are left out before any is opened.
//!
//! A filter over `path`, `label`, `size` and `modified` alone is evaluated over the listing by DataFusion itself, so its rows
//! are exactly those that it would have let through above the scan. One that calls a function of the program is left to the
//! tasks, and so is one whose values may become large: what those cost is not for the planner to pay, and where a query is
//! planned the limit of a value is a small one, which thousands of names together exceed.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::catalog::Session;
use datafusion::common::cast::as_boolean_array;
use datafusion::common::tree_node::TreeNode as _;
use datafusion::common::{DFSchema, Result};
use datafusion::datasource::listing::helpers::expr_applicable_for_cols;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown};
use datafusion::physical_expr::PhysicalExpr;

use crate::connectors::images::folder::{Folder, ImageFile};
use crate::connectors::images::schema::{FILE_COLUMNS, listing, listing_schema};
use crate::functions::Functions;
use crate::functions::bounded::is_bounded;

/// How well a listing answers a filter.
pub(crate) fn support(filter: &Expr, functions: &Functions) -> TableProviderFilterPushDown {
    let asks_more = filter.exists(|part| {
        Ok(match part {
            Expr::ScalarFunction(call) => {
                is_bounded(call.name()) || functions.names().any(|name| name == call.name())
            }
            Expr::BinaryExpr(BinaryExpr { op: Operator::StringConcat, .. })
            | Expr::Exists(_)
            | Expr::InSubquery(_)
            | Expr::ScalarSubquery(_)
            | Expr::SetComparison(_)
            | Expr::OuterReferenceColumn(..)
            | Expr::ScalarVariable(..) => true,
            _ => false,
        })
    });
    if expr_applicable_for_cols(&FILE_COLUMNS, filter) && matches!(asks_more, Ok(false)) {
        TableProviderFilterPushDown::Exact
    } else {
        TableProviderFilterPushDown::Unsupported
    }
}

/// A conjunction of filters, ready to be asked.
#[derive(Debug)]
pub(crate) struct Chosen {
    /// `None` where every file is.
    condition: Option<Arc<dyn PhysicalExpr>>,
}

impl Chosen {
    /// The files that pass all filters, each of which [`support`]s.
    pub(crate) fn by(filters: &[Expr], state: &dyn Session) -> Result<Self> {
        let schema = DFSchema::try_from(listing_schema())?;
        let condition = conjunction(filters.iter().cloned());
        let condition = condition.map(|filter| state.create_physical_expr(filter, &schema)).transpose()?;
        Ok(Self { condition })
    }

    /// Leaves out the files that do not pass.
    pub(crate) fn retain(&self, folder: &Folder, labels: bool, files: &mut Vec<ImageFile>) -> Result<()> {
        let Some(condition) = &self.condition else { return Ok(()) };
        let columns = listing(folder, labels, files).to_vec();
        let batch = RecordBatch::try_new(Arc::new(listing_schema()), columns)?;
        let passed = condition.evaluate(&batch)?.into_array(batch.num_rows())?;
        // What is neither true nor false does not pass.
        let mut passed = as_boolean_array(&passed)?.iter().map(|passed| passed == Some(true));
        files.retain(|_| passed.next().unwrap_or(false));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::functions::expr_fn::{concat, levenshtein, lower, random, replace};
    use datafusion::logical_expr::binary_expr;
    use datafusion::prelude::{SessionContext, col, lit};
    use proptest::prelude::*;

    use super::*;

    fn file(relative: &str, size: u64, modified: i64) -> ImageFile {
        ImageFile { relative: relative.to_owned(), size, modified }
    }

    fn files() -> Vec<ImageFile> {
        vec![file("a.jpg", 10, 0), file("cat/b.jpg", 20, 1_000), file("dog/c.png", 30, 2_000)]
    }

    fn left(filters: &[Expr], labels: bool) -> Vec<String> {
        let mut files = files();
        let chosen = Chosen::by(filters, &SessionContext::new().state()).unwrap();
        chosen.retain(&Folder::parse("/data").unwrap(), labels, &mut files).unwrap();
        files.into_iter().map(|file| file.relative).collect()
    }

    #[test]
    fn a_listing_answers_what_it_knows() {
        for (filter, expected) in [
            (col("label").eq(lit("cat")), vec!["cat/b.jpg"]),
            (col("label").is_null(), vec!["a.jpg"]),
            (col("label").not_eq(lit("cat")), vec!["dog/c.png"]),
            (col("label").in_list(vec![lit("dog"), lit("cat")], false), vec!["cat/b.jpg", "dog/c.png"]),
            (col("path").eq(lit("/data/a.jpg")), vec!["a.jpg"]),
            (col("path").like(lit("%.png")), vec!["dog/c.png"]),
            (lower(col("path")).like(lit("/data/cat%")), vec!["cat/b.jpg"]),
            (col("size").gt(lit(10_i64)).and(col("size").lt(lit(30_i64))), vec!["cat/b.jpg"]),
            (col("size").gt(lit(25_i64)).or(col("label").is_null()), vec!["a.jpg", "dog/c.png"]),
            (lit(false), vec![]),
        ] {
            assert_eq!(support(&filter, &Functions::new()), TableProviderFilterPushDown::Exact, "{filter}");
            assert_eq!(left(std::slice::from_ref(&filter), true), expected, "{filter}");
        }
        assert_eq!(left(&[], true).len(), 3);
        let both = [col("size").gt(lit(10_i64)), col("label").eq(lit("dog"))];
        assert_eq!(left(&both, true), ["dog/c.png"], "all filters hold");
        assert_eq!(left(&[col("label").is_null()], false).len(), 3, "without labels all are null");
    }

    #[test]
    fn a_time_is_compared_as_a_time() {
        use datafusion::common::ScalarValue;

        let time =
            |millis| Expr::Literal(ScalarValue::TimestampMillisecond(Some(millis), Some("UTC".into())), None);
        assert_eq!(left(&[col("modified").gt_eq(time(1_000))], true), ["cat/b.jpg", "dog/c.png"]);
        assert_eq!(left(&[col("modified").lt(time(1))], true), ["a.jpg"]);
    }

    #[test]
    fn what_needs_the_file_or_the_program_is_left_to_the_tasks() {
        let functions = Functions::new().scalar("is_good", |path: &str| path.len() > 3);
        let is_good = datafusion::logical_expr::create_udf(
            "is_good",
            vec![arrow::datatypes::DataType::Utf8],
            arrow::datatypes::DataType::Boolean,
            datafusion::logical_expr::Volatility::Immutable,
            Arc::new(|arguments| Ok(arguments[0].clone())),
        );
        for filter in [
            col("image").is_not_null(),
            col("_error").is_null(),
            col("label").eq(lit("cat")).or(col("image").is_null()),
            is_good.call(vec![col("path")]),
            random().lt(lit(0.5)),
            // Their values may be many times as large as the names.
            concat(vec![col("path"), lit("x")]).eq(lit("ax")),
            lower(replace(col("path"), lit("a"), lit("aa"))).eq(lit("aa")),
            levenshtein(col("label"), lit("cat")).lt(lit(2)),
            binary_expr(col("path"), Operator::StringConcat, col("label")).like(lit("%cat")),
        ] {
            assert_eq!(support(&filter, &functions), TableProviderFilterPushDown::Unsupported, "{filter}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_comparison_leaves_the_files_that_it_holds_for(
            found in prop::collection::vec(("[ab]/[ab]{1,2}", 0..6_u64, 0..6_i64), 0..20),
            value in -1..7_i64,
            op in 0..5_usize,
            of_size in any::<bool>(),
        ) {
            let mut files: Vec<ImageFile> =
                found.iter().map(|(name, size, time)| file(&format!("{name}.jpg"), *size, *time)).collect();
            let column = if of_size { col("size") } else { col("modified").cast_to_i64() };
            let filter = [Expr::eq, Expr::lt, Expr::lt_eq, Expr::gt, Expr::gt_eq][op](column, lit(value));
            let holds = |file: &&ImageFile| {
                let found = if of_size { i64::try_from(file.size).unwrap() } else { file.modified };
                [found == value, found < value, found <= value, found > value, found >= value][op]
            };
            let expected: Vec<ImageFile> = files.iter().filter(holds).cloned().collect();
            let chosen = Chosen::by(std::slice::from_ref(&filter), &SessionContext::new().state()).unwrap();
            chosen.retain(&Folder::parse("/data").unwrap(), true, &mut files).unwrap();
            prop_assert_eq!(files, expected, "{}", filter);
        }
    }

    trait Cast {
        fn cast_to_i64(self) -> Expr;
    }

    impl Cast for Expr {
        fn cast_to_i64(self) -> Expr {
            datafusion::logical_expr::cast(self, arrow::datatypes::DataType::Int64)
        }
    }
}
