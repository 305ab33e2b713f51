//! The conditions of a translation: expressions for the server that are always true or false.

use arrow::datatypes::DataType;
use bson::{Bson, doc};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, Literal, NotExpr,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use super::translate::{Translation, Value, scalar};

impl Translation<'_> {
    /// An expression for the server that is true exactly where the condition `expr` is `wanted`.
    pub(super) fn truth(&mut self, expr: &dyn PhysicalExpr, wanted: bool) -> Option<Bson> {
        if let Some(literal) = expr.downcast_ref::<Literal>() {
            return match literal.value() {
                ScalarValue::Boolean(value) => Some(Bson::Boolean(*value == Some(wanted))),
                ScalarValue::Null => Some(Bson::Boolean(false)),
                _ => None,
            };
        }
        if let Some(not) = expr.downcast_ref::<NotExpr>() {
            return self.truth(not.arg().as_ref(), !wanted);
        }
        if let Some(null) = expr.downcast_ref::<IsNullExpr>() {
            return self.null_test(null.arg().as_ref(), wanted);
        }
        if let Some(not_null) = expr.downcast_ref::<IsNotNullExpr>() {
            return self.null_test(not_null.arg().as_ref(), !wanted);
        }
        if let Some(list) = expr.downcast_ref::<InListExpr>() {
            return self.in_list(list, wanted);
        }
        if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
            return self.binary(binary, wanted);
        }
        if self.data_type(expr)? != DataType::Boolean
            || !(expr.is::<Column>() || expr.is::<CaseExpr>() || expr.is::<ScalarFunctionExpr>())
        {
            return None;
        }
        let value = self.value(expr)?;
        Some(doc! { "$eq": [value.bson, wanted] }.into())
    }

    fn null_test(&mut self, expr: &dyn PhysicalExpr, null: bool) -> Option<Bson> {
        let value = self.value(expr)?;
        // A missing field orders below null, and every value above it.
        let operator = if null { "$lte" } else { "$gt" };
        Some(doc! { operator: [value.bson, Bson::Null] }.into())
    }

    fn binary(&mut self, binary: &BinaryExpr, wanted: bool) -> Option<Bson> {
        let (left, right) = (binary.left().as_ref(), binary.right().as_ref());
        match binary.op() {
            op @ (Operator::And | Operator::Or) => {
                // NOT (a AND b) is NOT a OR NOT b, also with unknowns.
                let both = (*op == Operator::And) == wanted;
                let operator = if both { "$and" } else { "$or" };
                let parts = [self.truth(left, wanted)?, self.truth(right, wanted)?];
                Some(doc! { operator: parts.to_vec() }.into())
            }
            Operator::IsNotDistinctFrom => self.same(left, right, wanted),
            Operator::IsDistinctFrom => self.same(left, right, !wanted),
            op => {
                let op = if wanted { *op } else { op.negate()? };
                self.compare(left, op, right)
            }
        }
    }

    /// Whether two values are the same, null being the same as null.
    fn same(&mut self, left: &dyn PhysicalExpr, right: &dyn PhysicalExpr, wanted: bool) -> Option<Bson> {
        let same: Bson = match right.downcast_ref::<Literal>().map(Literal::value) {
            // `IS TRUE` and the like.
            Some(ScalarValue::Boolean(Some(value))) => self.truth(left, *value)?,
            Some(literal) if literal.is_null() => self.null_test(left, true)?,
            _ => {
                let (left, right) = self.operands(left, right)?;
                let null_for_missing = |value: Value| doc! { "$ifNull": [value.bson, Bson::Null] };
                doc! { "$eq": [null_for_missing(left), null_for_missing(right)] }.into()
            }
        };
        Some(if wanted { same } else { doc! { "$not": [same] }.into() })
    }

    /// Two values that the server compares as the engine does.
    fn operands(&mut self, left: &dyn PhysicalExpr, right: &dyn PhysicalExpr) -> Option<(Value, Value)> {
        let (left_type, right_type) = (self.data_type(left)?, self.data_type(right)?);
        if left_type != right_type || left_type == DataType::Float64 {
            return None;
        }
        let (left, right) = (self.value(left)?, self.value(right)?);
        if left.overflows || right.overflows { None } else { Some((left, right)) }
    }

    pub(super) fn compare(
        &mut self,
        left: &dyn PhysicalExpr,
        op: Operator,
        right: &dyn PhysicalExpr,
    ) -> Option<Bson> {
        let operator = match op {
            Operator::Eq => "$eq",
            Operator::NotEq => "$ne",
            Operator::Lt => "$lt",
            Operator::LtEq => "$lte",
            Operator::Gt => "$gt",
            Operator::GtEq => "$gte",
            _ => return None,
        };
        let doubles = self.data_type(left)? == DataType::Float64;
        let (left, right) =
            if doubles { self.double_operands(left, right)? } else { self.operands(left, right)? };
        // A null is below all values for the server: it has to be excluded where that could make the answer true.
        let mut parts = Vec::new();
        for (side, low) in [(&left, true), (&right, false)] {
            let matters = match op {
                Operator::Eq => low,
                Operator::Lt | Operator::LtEq => low,
                Operator::Gt | Operator::GtEq => !low,
                _ => true,
            };
            if matters && !side.nullness.is_never() {
                parts.push(Bson::from(doc! { "$gt": [side.bson.clone(), Bson::Null] }));
            }
        }
        // The other side of an equation with a value that cannot be null needs no look.
        if op == Operator::Eq && right.nullness.is_never() {
            parts.clear();
        }
        let comparison: Bson = doc! { operator: [left.bson, right.bson] }.into();
        if parts.is_empty() {
            return Some(comparison);
        }
        parts.push(comparison);
        Some(doc! { "$and": parts }.into())
    }

    /// A column of doubles and a literal on which both agree: zero has two signs for the engine and NaN a place in
    /// the order.
    fn double_operands(
        &mut self,
        left: &dyn PhysicalExpr,
        right: &dyn PhysicalExpr,
    ) -> Option<(Value, Value)> {
        for side in [left, right] {
            if let Some(column) = side.downcast_ref::<Column>() {
                self.ordered.insert(column.index());
                continue;
            }
            match side.downcast_ref::<Literal>()?.value() {
                ScalarValue::Float64(Some(value)) if *value != 0.0 && !value.is_nan() => {}
                _ => return None,
            }
        }
        if left.is::<Column>() && right.is::<Column>() {
            return None;
        }
        Some((self.value(left)?, self.value(right)?))
    }

    fn in_list(&mut self, list: &InListExpr, wanted: bool) -> Option<Bson> {
        let expr = list.expr().as_ref();
        let data_type = self.data_type(expr)?;
        if data_type == DataType::Float64 {
            return None;
        }
        let mut values = Vec::new();
        let mut nulls = false;
        for item in list.list() {
            let literal = item.downcast_ref::<Literal>()?.value();
            if literal.is_null() {
                nulls = true;
            } else if literal.data_type() == data_type {
                values.push(scalar(literal)?);
            } else {
                return None;
            }
        }
        let value = self.value(expr)?;
        if value.overflows {
            return None;
        }
        let found: Bson = doc! { "$in": [value.bson.clone(), { "$literal": values }] }.into();
        if list.negated() != wanted {
            return Some(found);
        }
        if nulls {
            return Some(Bson::Boolean(false)); // Not being in a list with a null is never true.
        }
        let not_found = Bson::from(doc! { "$not": [found] });
        Some(doc! { "$and": [{ "$gt": [value.bson, Bson::Null] }, not_found] }.into())
    }
}
