//! Expressions as keys and values: tuples of them, the names of their columns, and casts as methods.

use arrow::datatypes::DataType;
use datafusion::common::Column;
use datafusion::logical_expr::Expr;

/// One expression or several: a key or a value may have several parts.
pub trait Exprs {
    /// Returns the parts in order.
    fn into_exprs(self) -> Vec<Expr>;
}

impl Exprs for Expr {
    fn into_exprs(self) -> Vec<Expr> {
        vec![self]
    }
}

impl Exprs for Vec<Expr> {
    fn into_exprs(self) -> Vec<Expr> {
        self
    }
}

impl<const N: usize> Exprs for [Expr; N] {
    fn into_exprs(self) -> Vec<Expr> {
        self.into()
    }
}

macro_rules! exprs_of_tuple {
    ($($part:ident),+) => {
        #[allow(non_snake_case, reason = "the type parameters name the parts")]
        impl<$($part: Into<Expr>),+> Exprs for ($($part,)+) {
            fn into_exprs(self) -> Vec<Expr> {
                let ($($part,)+) = self;
                vec![$($part.into()),+]
            }
        }
    };
}
exprs_of_tuple!(A);
exprs_of_tuple!(A, B);
exprs_of_tuple!(A, B, C);
exprs_of_tuple!(A, B, C, D);
exprs_of_tuple!(A, B, C, D, E);
exprs_of_tuple!(A, B, C, D, E, F);

/// Casts as methods of an expression.
pub trait ExprExt {
    /// Casts to a 64-bit integer; a boolean becomes 0 or 1.
    fn cast_to_i64(self) -> Expr;
    /// Casts to a double.
    fn cast_to_f64(self) -> Expr;
}

impl ExprExt for Expr {
    fn cast_to_i64(self) -> Expr {
        datafusion::logical_expr::cast(self, DataType::Int64)
    }

    fn cast_to_f64(self) -> Expr {
        datafusion::logical_expr::cast(self, DataType::Float64)
    }
}

/// Negates a boolean expression.
pub fn not(expr: Expr) -> Expr {
    datafusion::logical_expr::not(expr)
}

/// Returns the name of part `index` of a key: the name of its column or its alias, else `key_{index}`.
pub(super) fn key_name(index: usize, part: &Expr) -> String {
    match part {
        Expr::Column(column) => column.name.clone(),
        Expr::Alias(alias) => alias.name.clone(),
        _ => format!("key_{index}"),
    }
}

/// Returns the name of part `index` of a value: its alias, else `value_{index}`.
pub(super) fn value_name(index: usize, part: &Expr) -> String {
    match part {
        Expr::Alias(alias) => alias.name.clone(),
        _ => format!("value_{index}"),
    }
}

/// Returns the expression that an alias names.
pub(super) fn unalias(part: Expr) -> Expr {
    match part {
        Expr::Alias(alias) => *alias.expr,
        part => part,
    }
}

/// Gives each part the name that `name` returns for it.
pub(super) fn named(parts: Vec<Expr>, name: impl Fn(usize, &Expr) -> String) -> Vec<Expr> {
    let named = parts.into_iter().enumerate().map(|(index, part)| {
        let name = name(index, &part);
        match part {
            // An alias of an alias would be shown twice, and a column needs no alias for its own name.
            Expr::Alias(alias) => alias.expr.alias(name),
            Expr::Column(column) if column.name == name => Expr::Column(column),
            part => part.alias(name),
        }
    });
    named.collect()
}

/// Refers to a column by its plain name, whatever characters the name has.
pub(super) fn column(name: impl Into<String>) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}
