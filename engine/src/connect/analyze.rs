//! Questions about a plan that are answered without running it.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use firesteel_proto::spark::connect as proto;
use firesteel_proto::spark::connect::analyze_plan_request::Analyze;
use firesteel_proto::spark::connect::analyze_plan_request::explain::ExplainMode;
use firesteel_proto::spark::connect::analyze_plan_response as answer;
use firesteel_proto::spark::connect::analyze_plan_response::Result as Answer;
use firesteel_proto::spark::connect::data_type::Kind;
use firesteel_proto::spark::connect::plan::OpType;
use firesteel_proto::spark::connect::relation::RelType;

use super::error::{Result, SparkError};
use super::frame::Frame;
use super::relation::Translator;
use super::settings::SPARK_VERSION;
use super::types;
use crate::dataflow::Dataset;

/// How deep a schema is shown where nobody says.
const DEPTH: i32 = i32::MAX;

impl Translator<'_> {
    /// Answers a question.
    pub(super) async fn analyze(&self, question: &Analyze) -> Result<Answer> {
        Ok(match question {
            Analyze::Schema(question) => {
                let frame = self.planned(question.plan.as_ref()).await?;
                Answer::Schema(answer::Schema { schema: Some(types::schema_to_spark(&frame.schema()?)?) })
            }
            Analyze::Explain(question) => {
                let frame = self.planned(question.plan.as_ref()).await?;
                let explain_string = self.explain(frame, question.explain_mode()).await?;
                Answer::Explain(answer::Explain { explain_string })
            }
            Analyze::TreeString(question) => {
                let frame = self.planned(question.plan.as_ref()).await?;
                let schema = types::schema_to_spark(&frame.schema()?)?;
                let tree_string = tree(&schema, question.level.unwrap_or(DEPTH));
                Answer::TreeString(answer::TreeString { tree_string })
            }
            Analyze::IsLocal(question) => {
                let is_local = matches!(
                    root(question.plan.as_ref())?.rel_type,
                    Some(RelType::LocalRelation(_) | RelType::Catalog(_))
                );
                Answer::IsLocal(answer::IsLocal { is_local })
            }
            Analyze::IsStreaming(_) => Answer::IsStreaming(answer::IsStreaming { is_streaming: false }),
            Analyze::InputFiles(_) => return Err(SparkError::unsupported("inputFiles")),
            Analyze::SparkVersion(_) => {
                Answer::SparkVersion(answer::SparkVersion { version: SPARK_VERSION.to_owned() })
            }
            Analyze::DdlParse(question) => {
                let parsed = Some(types::ddl::parse(&question.ddl_string)?);
                Answer::DdlParse(answer::DdlParse { parsed })
            }
            Analyze::SameSemantics(question) => {
                let target = self.planned(question.target_plan.as_ref()).await?;
                let other = self.planned(question.other_plan.as_ref()).await?;
                Answer::SameSemantics(answer::SameSemantics { result: target.ordered()? == other.ordered()? })
            }
            Analyze::SemanticHash(question) => {
                let plan = self.planned(question.plan.as_ref()).await?.ordered()?;
                let mut hasher = DefaultHasher::new();
                plan.hash(&mut hasher);
                let [a, b, c, d, ..] = hasher.finish().to_le_bytes();
                Answer::SemanticHash(answer::SemanticHash { result: i32::from_le_bytes([a, b, c, d]) })
            }
            // Rows are not kept: a plan that runs again reads again.
            Analyze::Persist(_) => Answer::Persist(answer::Persist {}),
            Analyze::Unpersist(_) => Answer::Unpersist(answer::Unpersist {}),
            Analyze::GetStorageLevel(_) => Answer::GetStorageLevel(answer::GetStorageLevel {
                storage_level: Some(proto::StorageLevel { replication: 1, ..proto::StorageLevel::default() }),
            }),
        })
    }

    async fn planned(&self, plan: Option<&proto::Plan>) -> Result<Frame> {
        let Frame { plan, columns } = self.relation(root(plan)?).await?;
        Ok(Frame { plan: self.within_limits(plan)?, columns })
    }

    async fn explain(&self, frame: Frame, mode: ExplainMode) -> Result<String> {
        let plan = frame.ordered()?;
        let logical = plan.display_indent().to_string();
        let frame = datafusion::dataframe::DataFrame::new(self.state.clone(), plan);
        let plans = Dataset::new(frame).explain().await?;
        Ok(match mode {
            ExplainMode::Extended => {
                format!("== Analyzed Logical Plan ==\n{logical}\n\n== Physical Plan ==\n{plans}")
            }
            _ => format!("== Physical Plan ==\n{plans}\n"),
        })
    }
}

fn root(plan: Option<&proto::Plan>) -> Result<&proto::Relation> {
    match plan.and_then(|plan| plan.op_type.as_ref()) {
        Some(OpType::Root(relation)) => Ok(relation),
        _ => Err(SparkError::incomplete("the plan of rows")),
    }
}

/// What `printSchema` prints.
fn tree(schema: &proto::DataType, level: i32) -> String {
    let mut text = "root\n".to_owned();
    if let Some(Kind::Struct(fields)) = &schema.kind {
        fields_of(&mut text, fields, " |", level);
    }
    text
}

fn fields_of(text: &mut String, fields: &proto::data_type::Struct, prefix: &str, level: i32) {
    for field in &fields.fields {
        let Some(data_type) = &field.data_type else { continue };
        let _ =
            writeln!(text, "{prefix}-- {}: {} (nullable = {})", field.name, title(data_type), field.nullable);
        below(text, data_type, &format!("{prefix}    |"), level - 1);
    }
}

fn title(data_type: &proto::DataType) -> String {
    match &data_type.kind {
        Some(Kind::Decimal(decimal)) => {
            format!("decimal({},{})", decimal.precision.unwrap_or(10), decimal.scale.unwrap_or(0))
        }
        _ => types::ddl::simple(data_type).to_owned(),
    }
}

fn below(text: &mut String, data_type: &proto::DataType, prefix: &str, level: i32) {
    if level <= 0 {
        return;
    }
    let mut part = |name: &str, part: Option<&proto::DataType>, nullable: &str| {
        if let Some(part) = part {
            let _ = writeln!(text, "{prefix}-- {name}: {}{nullable}", title(part));
            below(text, part, &format!("{prefix}    |"), level - 1);
        }
    };
    match &data_type.kind {
        Some(Kind::Array(array)) => {
            part(
                "element",
                array.element_type.as_deref(),
                &format!(" (containsNull = {})", array.contains_null),
            );
        }
        Some(Kind::Map(map)) => {
            part("key", map.key_type.as_deref(), "");
            let nullable = format!(" (valueContainsNull = {})", map.value_contains_null);
            part("value", map.value_type.as_deref(), &nullable);
        }
        Some(Kind::Struct(fields)) => fields_of(text, fields, prefix, level),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_a_tree() {
        let schema =
            types::ddl::parse("a BIGINT NOT NULL, b ARRAY<STRUCT<c: DECIMAL(5,2)>>, d MAP<STRING,INT>")
                .unwrap();
        let expected = "root\n\
            \x20|-- a: long (nullable = false)\n\
            \x20|-- b: array (nullable = true)\n\
            \x20|    |-- element: struct (containsNull = true)\n\
            \x20|    |    |-- c: decimal(5,2) (nullable = true)\n\
            \x20|-- d: map (nullable = true)\n\
            \x20|    |-- key: string\n\
            \x20|    |-- value: integer (valueContainsNull = true)\n";
        assert_eq!(tree(&schema, DEPTH), expected);
        assert_eq!(tree(&schema, 1).lines().count(), 4);
    }
}
