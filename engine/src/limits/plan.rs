//! The limits of a plan that a client sends, by its bytes.
//!
//! A plan is a protobuf message. How deep messages may lie in each other is limited by the decoder, but not how deep the tree
//! is that comes of them: a chain of operators travels as one list (`BinaryExprNode`), and a table may carry a plan of its own
//! as bytes. So the bytes are walked before anything is decoded, in a loop, without the schema: whatever could be a message
//! is looked into.
//!
//! A decoder passes over fields that it does not know, and joins a message that comes in parts. So a plan is walked a second time
//! as it is once it is decoded: what is not in it any more hides nothing.

use datafusion_proto::protobuf::LogicalPlanNode;
use prost::Message as _;
use prost::bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint};

use super::SqlLimits;
use super::over;
use crate::wire::{MAGIC, damaged};
use crate::{ConfigField, Result};

/// How deep messages may lie in each other, over all plans within plans. The decoder allows 100 for each.
const NESTING: usize = 300;

/// The fields of DataFusion's `BinaryExprNode`.
const OPERANDS: u32 = 1;
const OPERATOR: u32 = 3;

/// Checks that a plan's bytes are within the limits. The error names the limit and its setting.
pub(crate) fn check_plan(bytes: &[u8], limits: &SqlLimits) -> Result<()> {
    walk(bytes, limits)?;
    // What cannot be decoded is the decoder's to tell.
    match LogicalPlanNode::decode(bytes) {
        Ok(plan) => walk(&plan.encode_to_vec(), limits),
        Err(_) => Ok(()),
    }
}

fn walk(bytes: &[u8], limits: &SqlLimits) -> Result<()> {
    let mut left = vec![(bytes, 0, 0)];
    while let Some((bytes, depth, nesting)) = left.pop() {
        let bytes = bytes.strip_prefix(MAGIC).unwrap_or(bytes);
        let Some(fields) = fields(bytes) else { continue };
        let depth = depth + operators(&fields);
        if depth > limits.depth {
            return Err(over("the depth of the plan", limits.depth, ConfigField::LimitsSqlDepth));
        }
        if nesting > NESTING {
            return Err(damaged(format!("its messages lie in each other more than {NESTING} deep")));
        }
        left.extend(fields.into_iter().map(|(_, bytes)| (bytes, depth, nesting + 1)));
    }
    Ok(())
}

/// The operators of a message that may be a chain of them.
fn operators(fields: &[(u32, &[u8])]) -> usize {
    let operator = |(tag, text): &(u32, &[u8])| *tag == OPERATOR && text.iter().all(u8::is_ascii_alphabetic);
    if !fields.iter().any(operator) {
        return 0;
    }
    fields.iter().filter(|(tag, _)| *tag == OPERANDS).count().saturating_sub(1)
}

/// The fields of a message that have a length, with their numbers; `None` where the bytes are no message.
fn fields(mut bytes: &[u8]) -> Option<Vec<(u32, &[u8])>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (tag, kind) = decode_key(&mut bytes).ok()?;
        let skip = match kind {
            WireType::Varint => {
                decode_varint(&mut bytes).ok()?;
                0
            }
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(&mut bytes).ok()?).ok()?;
                let (content, _) = bytes.split_at_checked(length)?;
                found.push((tag, content));
                length
            }
            // The decoder passes over a group of fields; here what is in it counts.
            WireType::StartGroup | WireType::EndGroup => 0,
        };
        if skip > bytes.remaining() {
            return None;
        }
        bytes.advance(skip);
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use datafusion::common::Result as DataFusionResult;
    use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, col, lit};
    use datafusion_proto::protobuf::logical_expr_node::ExprType;
    use datafusion_proto::protobuf::{BinaryExprNode, LogicalExprNode};
    use prost::Message as _;

    use super::*;
    use crate::Error;

    fn encoded(plan: &LogicalPlan) -> Vec<u8> {
        datafusion_proto::bytes::logical_plan_to_bytes(plan).unwrap().to_vec()
    }

    fn sum(terms: usize) -> Expr {
        (1..terms).fold(lit(1), |sum, _| sum + col("a"))
    }

    fn plan(exprs: Vec<Expr>) -> DataFusionResult<LogicalPlan> {
        LogicalPlanBuilder::values(vec![vec![lit(1)]])?
            .project(vec![col("column1").alias("a")])?
            .project(exprs)?
            .build()
    }

    #[test]
    fn a_plan_is_as_deep_as_its_longest_chain() {
        let limits = SqlLimits { depth: 40, ..SqlLimits::default() };
        let fits = encoded(&plan(vec![sum(40), sum(39).alias("b")]).unwrap());
        check_plan(&fits, &limits).unwrap();
        let error = check_plan(&encoded(&plan(vec![sum(60)]).unwrap()), &limits).unwrap_err();
        assert!(
            matches!(error, Error::OverLimit { setting: ConfigField::LimitsSqlDepth, most: 40, .. }),
            "{error}"
        );
        // Many columns, and a long list, are no chain.
        let wide = (0..500).map(|n| (sum(3) * lit(n)).alias(format!("c{n}")));
        let list = col("a").in_list((0..500).map(lit).collect(), false);
        check_plan(&encoded(&plan(wide.chain([list]).collect()).unwrap()), &limits).unwrap();
    }

    /// The message of a chain whose first operand is `first`.
    fn chain(first: LogicalExprNode, terms: usize) -> LogicalExprNode {
        let operands = std::iter::once(first).chain(vec![LogicalExprNode::default(); terms]).collect();
        LogicalExprNode {
            expr_type: Some(ExprType::BinaryExpr(BinaryExprNode { operands, op: "Plus".into() })),
        }
    }

    #[test]
    fn a_chain_of_a_million_operators_and_chains_in_chains_are_refused() {
        let limits = SqlLimits::default();
        let one = |bytes: &[u8]| [&[0x0a], prost_length(bytes.len()).as_slice(), bytes].concat();
        // A million operands of one byte each, with their lengths.
        let operands: Vec<u8> = one(&[0x08]).repeat(1_000_000);
        let bytes = [operands.as_slice(), b"\x1a\x04Plus"].concat();
        check_plan(&bytes, &limits).unwrap_err();
        let mut nested = LogicalExprNode::default();
        for _ in 0..4 {
            nested = chain(nested, 400);
        }
        check_plan(&nested.encode_to_vec(), &limits).unwrap_err();
        let mut deep = vec![0x08, 0x01];
        for _ in 0..100_000 {
            deep = one(&deep);
            if deep.len() > 1 << 14 {
                break;
            }
        }
        assert!(matches!(check_plan(&deep, &limits), Err(Error::PlanDecode { .. })));
    }

    /// What the decoder does not see, and what it sees as one.
    #[test]
    fn a_chain_does_not_hide_behind_unknown_fields_or_in_parts() {
        let limits = SqlLimits { depth: 40, ..SqlLimits::default() };
        let field = |tag: u32, bytes: &[u8]| {
            let mut out = Vec::new();
            prost::encoding::encode_varint(u64::from(tag << 3 | 2), &mut out);
            prost::encoding::encode_varint(bytes.len() as u64, &mut out);
            [out.as_slice(), bytes].concat()
        };
        let deep = encoded(&plan(vec![sum(60)]).unwrap());
        let refused = |bytes: &[u8], what: &str| {
            LogicalPlanNode::decode(bytes).expect(what);
            let error = check_plan(bytes, &limits).expect_err(what);
            assert!(matches!(error, Error::OverLimit { most: 40, .. }), "{what}: {error}");
        };
        // A group, which is a kind of field that nobody uses any more.
        refused(&[deep.as_slice(), b"\x93\x3f\x94\x3f"].concat(), "a group");
        refused(&[deep.as_slice(), field(1_000, b"no message").as_slice()].concat(), "an unknown field");

        // The chain itself, with a field that it does not have, and in as many parts as it has operands.
        let chain = chain(LogicalExprNode::default(), 60).encode_to_vec();
        let (number, operands) = (u32::from(chain[0] >> 3), fields(&chain).unwrap()[0].1);
        let with_unknown = field(number, &[operands, field(1_000, b"x").as_slice()].concat());
        let parts: Vec<u8> = fields(operands)
            .unwrap()
            .into_iter()
            .flat_map(|(tag, operand)| field(number, &field(tag, operand)))
            .collect();
        for (what, chain) in [("an unknown field of a chain", with_unknown), ("a chain in parts", parts)] {
            let projection =
                LogicalPlanNode::decode(encoded(&plan(vec![lit(1)]).unwrap()).as_slice()).unwrap();
            // Of an expression in its place, which is a repeated field of the projection.
            let bytes = projection.encode_to_vec();
            let (outer, content) = (u32::from(bytes[0] >> 3), fields(&bytes).unwrap()[0].1);
            refused(&field(outer, &[content, field(2, &chain).as_slice()].concat()), what);
        }
    }

    fn prost_length(length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        prost::encoding::encode_varint(length as u64, &mut bytes);
        bytes
    }

    #[test]
    fn what_is_no_message_is_left_to_the_decoder() {
        for bytes in [&b""[..], b"\xff\xff", b"FSTL", b"FSTL\x0a", b"plain text", &[0x0a; 64]] {
            check_plan(bytes, &SqlLimits::default()).unwrap();
        }
    }
}
