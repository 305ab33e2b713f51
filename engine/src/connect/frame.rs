//! Rows while a plan is translated: the engine's plan, and what its columns are called in Spark.
//!
//! Spark allows columns of equal names and compares names without case; the engine allows neither. So a [`Frame`] keeps, for
//! each visible column, its name in Spark beside the engine's column. An engine's name is a column's own unless that is taken.

use arrow::datatypes::{DataType, Field as ArrowField, Schema};
use datafusion::common::Column;
use datafusion::functions::core::expr_ext::FieldAccessor as _;
use datafusion::logical_expr::{Expr, ExprSchemable as _, LogicalPlan, LogicalPlanBuilder};

use super::error::{Result, SparkError};

/// A column that Spark sees.
#[derive(Clone, Debug)]
pub(super) struct Visible {
    /// Its name.
    pub(super) name: String,
    /// The name of the rows that it belongs to, such as a table's.
    pub(super) qualifier: Option<String>,
    /// The data frames of the client that it is a column of.
    pub(super) frames: Vec<i64>,
    /// The engine's column.
    pub(super) column: Column,
}

/// Rows that are not computed yet, with the names of their columns.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) plan: LogicalPlan,
    pub(super) columns: Vec<Visible>,
}

/// A column of a projection that is being made.
#[derive(Clone, Debug)]
pub(super) struct Output {
    pub(super) name: String,
    pub(super) expr: Expr,
    /// The column that is handed on as it is.
    pub(super) from: Option<Visible>,
}

impl Output {
    /// A column that is computed.
    pub(super) fn computed(name: impl Into<String>, expr: Expr) -> Self {
        Self { name: name.into(), expr, from: None }
    }

    /// A column that is handed on.
    pub(super) fn same(column: &Visible) -> Self {
        let expr = Expr::Column(column.column.clone());
        Self { name: column.name.clone(), expr, from: Some(column.clone()) }
    }
}

impl Frame {
    /// The rows of a plan, whose columns are called as the plan calls them.
    pub(super) fn new(plan: LogicalPlan) -> Self {
        let columns = plan.schema().columns().into_iter().map(|column| Visible {
            name: column.name.clone(),
            qualifier: column.relation.as_ref().map(|relation| relation.table().to_owned()),
            frames: Vec::new(),
            column,
        });
        let columns = columns.collect();
        Self { plan, columns }
    }

    /// The same columns over another plan.
    pub(super) fn over(self, plan: LogicalPlan) -> Self {
        Self { plan, columns: self.columns }
    }

    /// The names of the columns.
    pub(super) fn names(&self) -> Vec<String> {
        self.columns.iter().map(|column| column.name.clone()).collect()
    }

    /// The type of a column.
    pub(super) fn data_type(&self, column: &Visible) -> Result<DataType> {
        Ok(Expr::Column(column.column.clone()).get_type(self.plan.schema())?)
    }

    /// The columns as Spark calls them.
    pub(super) fn schema(&self) -> Result<Schema> {
        let field = |column: &Visible| -> Result<ArrowField> {
            let (_, field) = Expr::Column(column.column.clone()).to_field(self.plan.schema().as_ref())?;
            Ok(ArrowField::new(&column.name, field.data_type().clone(), field.is_nullable()))
        };
        Ok(Schema::new(self.columns.iter().map(field).collect::<Result<Vec<_>>>()?))
    }

    /// Names the rows.
    pub(super) fn named(mut self, name: &str) -> Self {
        for column in &mut self.columns {
            column.qualifier = Some(name.to_owned());
        }
        self
    }

    /// Says that the columns are those of a data frame of the client.
    pub(super) fn belongs_to(mut self, frame: Option<i64>) -> Self {
        if let Some(frame) = frame {
            for column in &mut self.columns {
                if !column.frames.contains(&frame) {
                    column.frames.push(frame);
                }
            }
        }
        self
    }

    /// The columns whose names are `name`, of a data frame where one is given.
    fn matching<'a>(&'a self, name: &str, frame: Option<i64>) -> impl Iterator<Item = &'a Visible> {
        self.columns.iter().filter(move |column| {
            same_name(&column.name, name) && frame.is_none_or(|frame| column.frames.contains(&frame))
        })
    }

    /// The columns that a name means: `a`, `t.a`, and, with the parts of a value, `a.b` and `t.a.b`.
    pub(super) fn resolve(&self, name: &str, frame: Option<i64>) -> Result<(Option<&Visible>, Expr)> {
        let parts = parts(name)?;
        let [first, rest @ ..] = parts.as_slice() else {
            return Err(SparkError::column(name, &self.names()));
        };
        let mut found: Vec<&Visible> = Vec::new();
        let mut fields = rest;
        if let [second, rest @ ..] = rest {
            let of =
                |column: &&Visible| column.qualifier.as_ref().is_some_and(|table| same_name(table, first));
            found = self.matching(second, frame).filter(of).collect();
            fields = rest;
        }
        if found.is_empty() {
            found = self.matching(first, frame).collect();
            fields = rest;
        }
        // Several of one column are one.
        found.dedup_by(|a, b| a.column == b.column);
        let column = match found.as_slice() {
            [] if frame.is_some() => return Err(SparkError::frame_column(name)),
            [] => return Err(SparkError::column(name, &self.names())),
            [column] => *column,
            several => {
                let candidates: Vec<String> = several.iter().map(|column| column.path()).collect();
                return Err(SparkError::ambiguous(name, &candidates));
            }
        };
        let mut expr = Expr::Column(column.column.clone());
        if fields.is_empty() {
            return Ok((Some(column), expr));
        }
        for field in fields {
            expr = self.field(expr, field)?;
        }
        Ok((None, expr))
    }

    /// A field of a struct, or of each struct of an array's only where the engine can.
    pub(super) fn field(&self, expr: Expr, name: &str) -> Result<Expr> {
        match expr.get_type(self.plan.schema())? {
            DataType::Struct(fields) => {
                let field = fields.iter().find(|field| same_name(field.name(), name));
                let names = || fields.iter().map(|field| field.name().clone()).collect::<Vec<_>>();
                let field = field.ok_or_else(|| SparkError::column(name, &names()))?;
                Ok(expr.field(field.name()))
            }
            DataType::Map(..) => Ok(datafusion::functions_nested::expr_fn::array_element(
                datafusion::functions_nested::expr_fn::map_extract(expr, datafusion::logical_expr::lit(name)),
                datafusion::logical_expr::lit(1_i64),
            )),
            _ => Err(SparkError::column(name, &self.names())),
        }
    }

    /// Computes columns; each keeps its name in Spark, and gets one of the engine's that is free.
    pub(super) fn project(self, outputs: Vec<Output>) -> Result<Self> {
        let mut exprs = Vec::with_capacity(outputs.len());
        let mut columns: Vec<Visible> = Vec::with_capacity(outputs.len());
        for output in outputs {
            let kept = output.from.as_ref().filter(|from| is_free(&columns, &from.column));
            let (column, expr) = match kept {
                Some(from) => (from.column.clone(), output.expr),
                None => {
                    let column = free(&columns, &output.name);
                    (column.clone(), output.expr.alias(column.name))
                }
            };
            let (qualifier, frames) = match output.from {
                Some(from) => (from.qualifier, from.frames),
                None => (None, Vec::new()),
            };
            columns.push(Visible { name: output.name, qualifier, frames, column });
            exprs.push(expr);
        }
        let plan = LogicalPlanBuilder::from(self.plan).project(exprs)?.build()?;
        Ok(Self { plan, columns })
    }

    /// Gives every column a name of the engine's that none of `taken` has.
    pub(super) fn apart_from(self, taken: &[Visible]) -> Result<Self> {
        if self.columns.iter().all(|column| is_free(taken, &column.column)) {
            return Ok(self);
        }
        let mut used = taken.to_vec();
        let (mut exprs, mut columns) = (Vec::new(), Vec::new());
        for old in self.columns {
            let expr = Expr::Column(old.column.clone());
            let column = match is_free(&used, &old.column) {
                true => old.column.clone(),
                false => free(&used, &old.name),
            };
            exprs.push(if column == old.column { expr } else { expr.alias(&column.name) });
            let new = Visible { column, ..old };
            used.push(new.clone());
            columns.push(new);
        }
        let plan = LogicalPlanBuilder::from(self.plan).project(exprs)?.build()?;
        Ok(Self { plan, columns })
    }

    /// The plan with the columns called as Spark calls them, in the order in which Spark sees them.
    ///
    /// # Errors
    /// Columns of equal names, which a table cannot have.
    pub(super) fn into_plan(self) -> Result<LogicalPlan> {
        for (index, column) in self.columns.iter().enumerate() {
            if self.columns[..index].iter().any(|other| same_name(&other.name, &column.name)) {
                let name = &column.name;
                return Err(SparkError::new(
                    super::error::Kind::Analysis,
                    "COLUMN_ALREADY_EXISTS",
                    "42711",
                    format!(
                        "The column `{name}` already exists. Choose another name or rename the existing column."
                    ),
                ));
            }
        }
        let exprs = self.columns.iter().map(|column| Expr::Column(column.column.clone()).alias(&column.name));
        let exprs: Vec<Expr> = exprs.collect();
        Ok(LogicalPlanBuilder::from(self.plan).project(exprs)?.build()?)
    }

    /// The plan with the columns in the order in which Spark sees them, under the engine's names.
    pub(super) fn ordered(self) -> Result<LogicalPlan> {
        let same = self.plan.schema().columns().iter().eq(self.columns.iter().map(|column| &column.column));
        if same {
            return Ok(self.plan);
        }
        let exprs: Vec<Expr> =
            self.columns.iter().map(|column| Expr::Column(column.column.clone())).collect();
        Ok(LogicalPlanBuilder::from(self.plan).project(exprs)?.build()?)
    }
}

impl Visible {
    fn path(&self) -> String {
        match &self.qualifier {
            Some(qualifier) => format!("`{qualifier}`.`{}`", self.name),
            None => format!("`{}`", self.name),
        }
    }
}

/// Whether no column has this name: the engine tells a qualified one and a bare one of one name not apart.
fn is_free(taken: &[Visible], column: &Column) -> bool {
    !taken.iter().any(|other| {
        let other = &other.column;
        other.name == column.name
            && (other.relation.is_none() || column.relation.is_none() || other.relation == column.relation)
    })
}

/// A name of the engine's that no column has.
fn free(taken: &[Visible], name: &str) -> Column {
    let column = Column::new_unqualified(name);
    if is_free(taken, &column) {
        return column;
    }
    let mut number = taken.len();
    loop {
        let column = Column::new_unqualified(format!("{name}#{number}"));
        if is_free(taken, &column) {
            return column;
        }
        number += 1;
    }
}

/// Whether Spark takes two names for one.
pub(super) fn same_name(a: &str, b: &str) -> bool {
    a == b || a.to_lowercase() == b.to_lowercase()
}

/// The parts of a name: `a.b` has two, and `` `a.b` `` one.
pub(super) fn parts(name: &str) -> Result<Vec<String>> {
    let mut parts = vec![String::new()];
    let (mut quoted, mut letters) = (false, name.chars().peekable());
    while let Some(letter) = letters.next() {
        match letter {
            '`' if quoted && letters.peek() == Some(&'`') => {
                letters.next();
                push(&mut parts, '`');
            }
            '`' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            letter => push(&mut parts, letter),
        }
    }
    if quoted || parts.iter().any(String::is_empty) {
        return Err(SparkError::syntax(format!("{name:?} is no name")));
    }
    Ok(parts)
}

fn push(parts: &mut [String], letter: char) {
    if let Some(last) = parts.last_mut() {
        last.push(letter);
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;
    use datafusion::logical_expr::builder::table_scan;
    use datafusion::logical_expr::lit;

    use super::*;

    fn frame() -> Frame {
        let point = DataType::Struct(vec![Field::new("X", DataType::Int32, true)].into());
        let fields = vec![
            Field::new("Id", DataType::Int64, false),
            Field::new("a.b", DataType::Utf8, true),
            Field::new("p", point, true),
        ];
        Frame::new(table_scan(Some("t"), &Schema::new(fields), None).unwrap().build().unwrap())
    }

    #[test]
    fn names_are_found_without_case_by_table_and_with_fields() {
        let frame = frame();
        for (name, found) in [
            ("id", true),
            ("T.ID", true),
            ("`a.b`", true),
            ("a.b", false),
            ("p.x", true),
            ("t.p.x", true),
            ("p.y", false),
        ] {
            assert_eq!(frame.resolve(name, None).is_ok(), found, "{name}");
        }
        let error = frame.resolve("nope", None).unwrap_err();
        assert_eq!(error.class, "UNRESOLVED_COLUMN.WITH_SUGGESTION");
    }

    #[test]
    fn equal_names_are_kept_apart() {
        let frame = frame();
        let id = Output::same(&frame.columns[0]);
        let twice = frame.project(vec![id.clone(), id, Output::computed("id", lit(1))]).unwrap();
        assert_eq!(twice.names(), ["Id", "Id", "id"]);
        assert_eq!(twice.resolve("id", None).unwrap_err().class, "AMBIGUOUS_REFERENCE");
        assert!(twice.into_plan().is_err());
    }

    #[test]
    fn a_column_is_found_by_the_frame_that_it_belongs_to() {
        let left = frame().belongs_to(Some(1));
        let right = frame().belongs_to(Some(2)).apart_from(&left.columns).unwrap();
        assert_ne!(left.columns[0].column, right.columns[0].column);
        assert!(left.resolve("Id", Some(1)).is_ok());
        assert_eq!(left.resolve("Id", Some(2)).unwrap_err().class, "CANNOT_RESOLVE_DATAFRAME_COLUMN");
    }

    #[test]
    fn a_name_has_parts() {
        assert_eq!(parts("a.`b.c`.d").unwrap(), ["a", "b.c", "d"]);
        assert_eq!(parts("`a``b`").unwrap(), ["a`b"]);
        for wrong in ["", "a.", "`a"] {
            assert!(parts(wrong).is_err(), "{wrong}");
        }
    }
}
