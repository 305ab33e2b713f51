//! The limits of a plan that a client sends, by its bytes.
//!
//! A plan is a protobuf message. How deep messages may lie in each other is limited by the decoder, but not how deep the tree
//! is that comes of them: a chain of operators travels as one list (`BinaryExprNode`), so do the inputs of a union, and a table may
//! carry a plan of its own as bytes. So the bytes are walked before anything is decoded, in a loop, without the schema: whatever
//! could be a message is looked into.
//!
//! Nor is limited how many they are. Two bytes are a message, and a hundred times as many in memory once they are decoded. So the
//! fields are counted, too.
//!
//! A decoder passes over fields that it does not know, and joins a message that comes in parts. So a plan is walked a second time
//! as it is once it is decoded: what is not in it any more hides nothing.
//!
//! A list or a structure in a plan travels as rows of Arrow, whose reader believes what they claim, see [`super::ipc`].
//! DataFusion compresses none, so compressed ones are refused.

use datafusion_proto::protobuf::LogicalPlanNode;
use prost::Message as _;
use prost::bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint};

use super::ipc::{batch_message, check_buffers, is_compressed};
use super::{SqlLimits, over};
use crate::wire::{MAGIC, damaged};
use crate::{ConfigField, Result};

/// How deep messages may lie in each other, over all plans within plans. The decoder allows 100 for each.
const NESTING: usize = 300;

/// How many fields with a length a plan may have for each node that it may have, and at least. A list of 10,000 values has some
/// 30,000, and the rows of the largest `INSERT` that the tokens of a statement allow have some 700,000.
const FIELDS_PER_NODE: usize = 50;
const FIELDS: usize = 1_000_000;

/// The field of DataFusion's `BinaryExprNode` with the operands, and of its `UnionNode` with the inputs.
const PARTS: u32 = 1;

/// The field of a `BinaryExprNode` with the operator.
const OPERATOR: u32 = 3;

/// The field of a `LogicalPlanNode` that is a `UnionNode`.
const UNION: u32 = 19;

/// The fields of a `ScalarNestedValue`, and of a dictionary in it, with the message and with the buffers of its rows.
const ROWS: u32 = 1;
const BUFFERS: u32 = 2;

/// Checks that a plan's bytes are within the limits. The error names the limit and its setting.
pub(crate) fn check_plan(bytes: &[u8], limits: &SqlLimits) -> Result<()> {
    walk(bytes, limits)?;
    // What cannot be decoded is the decoder's to tell.
    match LogicalPlanNode::decode(bytes) {
        Ok(plan) => walk(&plan.encode_to_vec(), limits),
        Err(_) => Ok(()),
    }
}

/// What may be a message, and where it lies.
struct Part<'a> {
    bytes: &'a [u8],
    /// Its number in the message around it.
    number: u32,
    /// The levels of the tree above it.
    depth: usize,
    nesting: usize,
}

fn walk(bytes: &[u8], limits: &SqlLimits) -> Result<()> {
    let most = limits.plan_nodes.saturating_mul(FIELDS_PER_NODE).max(FIELDS);
    let mut count = 0;
    let mut left = vec![Part { bytes, number: 0, depth: 0, nesting: 0 }];
    while let Some(part) = left.pop() {
        let bytes = part.bytes.strip_prefix(MAGIC).unwrap_or(part.bytes);
        // They are counted before they are kept.
        let mut shape = Shape::default();
        let mut rows = Rows::default();
        let is_message = fields(bytes, |number, content| {
            shape.add(number, content);
            rows.add(number, content);
        });
        rows.check()?;
        let is_message = is_message.is_some();
        count += shape.fields;
        if count > most {
            return Err(over("the fields of the plan's messages", most, ConfigField::LimitsPlanNodes));
        }
        // The decoder, too, has kept what is in a message when it comes to where it is damaged.
        let depth = part.depth + if is_message { shape.levels(part.number) } else { 0 };
        if depth > limits.depth {
            return Err(over("the depth of the plan", limits.depth, ConfigField::LimitsSqlDepth));
        }
        if part.nesting > NESTING {
            return Err(damaged(format!("its messages lie in each other more than {NESTING} deep")));
        }
        let nesting = part.nesting + 1;
        fields(bytes, |number, bytes| left.push(Part { bytes, number, depth, nesting }));
    }
    Ok(())
}

/// What says how deep the tree is that comes of a message.
#[derive(Debug, Default)]
struct Shape {
    fields: usize,
    /// Operands of an operator, or inputs of a union.
    parts: usize,
    has_operator: bool,
}

impl Shape {
    fn add(&mut self, number: u32, content: &[u8]) {
        self.fields += 1;
        self.parts += usize::from(number == PARTS);
        self.has_operator |= number == OPERATOR && content.iter().all(u8::is_ascii_alphabetic);
    }

    /// The levels that it is more than one, where it is `number` in the message around it.
    fn levels(&self, number: u32) -> usize {
        if self.has_operator || number == UNION { self.parts.saturating_sub(1) } else { 0 }
    }
}

/// What may be the rows of a list or of a structure.
#[derive(Debug, Default)]
struct Rows<'a> {
    message: &'a [u8],
    buffers: &'a [u8],
}

impl<'a> Rows<'a> {
    fn add(&mut self, number: u32, content: &'a [u8]) {
        match number {
            ROWS => self.message = content,
            BUFFERS => self.buffers = content,
            _ => {}
        }
    }

    fn check(&self) -> Result<()> {
        let Some(message) = batch_message(self.message) else { return Ok(()) };
        if is_compressed(message) {
            return Err(damaged("the rows of a list in it are compressed"));
        }
        check_buffers(message, self.buffers).map_err(damaged)
    }
}

/// Shows the fields of a message that have a length, with their numbers; `None` where the bytes are no message, behind those that
/// may be fields of one.
fn fields<'a>(mut bytes: &'a [u8], mut show: impl FnMut(u32, &'a [u8])) -> Option<()> {
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
                show(tag, content);
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
    Some(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, RecordBatch};
    use arrow::datatypes::DataType;
    use arrow::ipc::CompressionType;
    use arrow::ipc::writer::{DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteOptions};
    use datafusion::common::{Result as DataFusionResult, ScalarValue};
    use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, col, lit};
    use datafusion_proto::protobuf::logical_expr_node::ExprType;
    use datafusion_proto::protobuf::logical_plan_node::LogicalPlanType;
    use datafusion_proto::protobuf::{BinaryExprNode, LogicalExprNode, UnionNode};
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

    /// The fields of a message that have a length.
    fn listed(bytes: &[u8]) -> Vec<(u32, &[u8])> {
        let mut found = Vec::new();
        fields(bytes, |number, content| found.push((number, content))).unwrap();
        found
    }

    fn union(inputs: usize) -> LogicalPlanNode {
        let input = LogicalPlanNode::decode(encoded(&plan(vec![lit(1)]).unwrap()).as_slice()).unwrap();
        LogicalPlanNode {
            logical_plan_type: Some(LogicalPlanType::Union(UnionNode { inputs: vec![input; inputs] })),
        }
    }

    /// DataFusion decodes the inputs of a union one in the other.
    #[test]
    fn a_union_is_as_deep_as_it_has_inputs() {
        let limits = SqlLimits { depth: 40, ..SqlLimits::default() };
        check_plan(&union(40).encode_to_vec(), &limits).unwrap();
        let error = check_plan(&union(60).encode_to_vec(), &limits).unwrap_err();
        assert_eq!(error.field(), Some(ConfigField::LimitsSqlDepth), "{error}");
        check_plan(&union(100_000).encode_to_vec(), &SqlLimits::default()).unwrap_err();
        // In each other, too.
        let mut nested = union(30);
        for _ in 0..2 {
            let mut outer = union(30);
            if let Some(LogicalPlanType::Union(inputs)) = &mut outer.logical_plan_type {
                inputs.inputs[0] = nested;
            }
            nested = outer;
        }
        check_plan(&nested.encode_to_vec(), &limits).unwrap_err();
    }

    /// Each of these fields is two bytes here and hundreds once it is decoded.
    #[test]
    fn a_plan_of_many_small_messages_is_refused_before_it_is_decoded() {
        let limits = SqlLimits::default();
        let many = |fields: usize| b"\x12\x00".repeat(fields);
        let error = check_plan(&many(2_000_000), &limits).unwrap_err();
        assert!(
            matches!(error, Error::OverLimit { setting: ConfigField::LimitsPlanNodes, most: 1_000_000, .. }),
            "{error}"
        );
        check_plan(&many(900_000), &limits).unwrap();
        // However they are spread.
        let spread: Vec<u8> = (0..40)
            .flat_map(|_| {
                let inner = many(50_000);
                [&[0x12], prost_length(inner.len()).as_slice(), inner.as_slice()].concat()
            })
            .collect();
        check_plan(&spread, &limits).unwrap_err();
        // The decoder has taken them all when it finds the damage.
        check_plan(&[many(2_000_000).as_slice(), b"\x12"].concat(), &limits).unwrap_err();
        check_plan(&[spread.as_slice(), b"\x12"].concat(), &limits).unwrap_err();
        let more = SqlLimits { plan_nodes: 100_000, ..limits };
        check_plan(&many(2_000_000), &more).unwrap();
        // The longest list and the most rows that people send.
        let list = col("a").in_list((0..10_000).map(lit).collect(), false);
        check_plan(&encoded(&plan(vec![list]).unwrap()), &limits).unwrap();
        let rows = (0..5_000).map(|row| (0..20).map(|column| lit(row * column)).collect()).collect();
        let values = LogicalPlanBuilder::values(rows).unwrap().build().unwrap();
        check_plan(&encoded(&values), &limits).unwrap();
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
        let (number, operands) = (u32::from(chain[0] >> 3), listed(&chain)[0].1);
        let with_unknown = field(number, &[operands, field(1_000, b"x").as_slice()].concat());
        let parts: Vec<u8> = listed(operands)
            .into_iter()
            .flat_map(|(tag, operand)| field(number, &field(tag, operand)))
            .collect();
        for (what, chain) in [("an unknown field of a chain", with_unknown), ("a chain in parts", parts)] {
            let projection =
                LogicalPlanNode::decode(encoded(&plan(vec![lit(1)]).unwrap()).as_slice()).unwrap();
            // Of an expression in its place, which is a repeated field of the projection.
            let bytes = projection.encode_to_vec();
            let (outer, content) = (u32::from(bytes[0] >> 3), listed(&bytes)[0].1);
            refused(&field(outer, &[content, field(2, &chain).as_slice()].concat()), what);
        }
    }

    /// A list travels as rows of Arrow, and their reader sets aside what a compressed buffer claims.
    #[test]
    fn the_rows_of_a_list_claim_nothing() {
        let limits = SqlLimits::default();
        let values: Vec<_> = (0..1000).map(|_| ScalarValue::Int64(Some(7))).collect();
        let list = ScalarValue::List(ScalarValue::new_list_nullable(&values, &DataType::Int64));
        check_plan(&encoded(&plan(vec![lit(list.clone())]).unwrap()), &limits).unwrap();

        let ScalarValue::List(array) = &list else { panic!("{list}") };
        let rows = RecordBatch::try_from_iter([("a", Arc::clone(array) as ArrayRef)]).unwrap();
        let nested = |compression| {
            let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
            let (_, rows) = IpcDataGenerator {}
                .encode(&rows, &mut DictionaryTracker::new(false), &options, &mut Default::default())
                .unwrap();
            rows
        };
        // As in a `ScalarNestedValue`.
        let value = |rows: &EncodedData| {
            field(3, &[field(ROWS, &rows.ipc_message), field(BUFFERS, &rows.arrow_data)].concat())
        };
        check_plan(&value(&nested(None)), &limits).unwrap();
        let error = check_plan(&value(&nested(Some(CompressionType::LZ4_FRAME))), &limits).unwrap_err();
        assert!(error.to_string().contains("compressed"), "{error}");
        let mut short = nested(None);
        short.arrow_data.truncate(100);
        let error = check_plan(&value(&short), &limits).unwrap_err();
        assert!(error.to_string().contains("outside of its message"), "{error}");
    }

    fn field(tag: u32, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        prost::encoding::encode_varint(u64::from(tag << 3 | 2), &mut out);
        prost::encoding::encode_varint(bytes.len() as u64, &mut out);
        [out.as_slice(), bytes].concat()
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
