//! `map`: turns rows into pairs of a key and a value.

use datafusion::logical_expr::Expr;

use super::Dataset;

/// One expression or several: a key or a value may have parts.
pub trait Exprs {
    /// The parts, in order.
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

/// Pairs of a key and a value, not yet computed.
#[derive(Clone, Debug)]
pub struct KeyValues {
    pub(super) data: Dataset,
    pub(super) key: Vec<Expr>,
    pub(super) value: Vec<Expr>,
}

impl Dataset {
    /// A pair of `key` and `value` for each row. Both may be tuples of expressions.
    pub fn map(self, key: impl Exprs, value: impl Exprs) -> KeyValues {
        KeyValues { data: self, key: key.into_exprs(), value: value.into_exprs() }
    }
}
