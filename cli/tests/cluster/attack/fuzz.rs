//! The fuzz targets without a fuzzer: seeded bytes, some hundred a target, or for `FIRESTEEL_TEST_FUZZ_SECONDS` each.
//!
//! Half the inputs are good ones with some bytes changed. What made a target fail once stays among them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, col, lit};
use datafusion_proto::bytes::logical_plan_to_bytes;
use firesteel_pipeline::dataset::Dataset;
use firesteel_testkit::samples;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::broken::{deep, field, mutate, noise};

#[path = "../../../../fuzz/src/engine.rs"]
#[allow(unreachable_pub, reason = "public in fuzz/")]
mod engine;
#[path = "../../../../fuzz/src/images.rs"]
#[allow(unreachable_pub, reason = "public in fuzz/")]
mod images;
#[path = "../../../../fuzz/src/records.rs"]
#[allow(unreachable_pub, reason = "public in fuzz/")]
mod records;

/// What takes any bytes.
type Target = fn(&[u8]);

/// The targets: a name, and what reads the bytes.
const TARGETS: [(&str, Target); 9] = [
    ("records", records::records),
    ("images", images::images),
    ("documents", engine::documents),
    ("logical_plans", engine::logical_plans),
    ("physical_plans", engine::physical_plans),
    ("shuffles", engine::shuffles),
    ("options", engine::options),
    ("sql", engine::sql),
    ("routes", engine::routes),
];

/// Files of each kind.
const IMAGES: [&[u8]; 8] = [
    include_bytes!("../../../../pipeline/tests/images/progressive.jpg"),
    include_bytes!("../../../../pipeline/tests/images/turned.jpg"),
    include_bytes!("../../../../pipeline/tests/images/ycck.jpg"),
    include_bytes!("../../../../pipeline/tests/images/palette4-interlaced.png"),
    include_bytes!("../../../../pipeline/tests/images/rgba16.png"),
    include_bytes!("../../../../pipeline/tests/images/lossy.webp"),
    include_bytes!("../../../../pipeline/tests/images/lossless.webp"),
    include_bytes!("../../../../pipeline/tests/images/animated.webp"),
];

/// Inputs a target.
const INPUTS: usize = 300;

/// What a target's inputs are made from.
fn good(target: &str) -> Vec<Vec<u8>> {
    let texts = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    match target {
        "records" => vec![samples::prediction(14, 3).encode()],
        "images" => {
            let images = Dataset::load(None).and_then(|shipped| shipped.first(8)).expect("the images");
            let shipped = images.into_iter().map(|image| image.data.to_vec());
            shipped.chain(IMAGES.iter().map(|image| image.to_vec())).collect()
        }
        "documents" => {
            let document = samples::prediction_document(14, 3);
            vec![mongodb::bson::serialize_to_vec(&document).expect("BSON")]
        }
        "logical_plans" => {
            let encoded = |plan: LogicalPlanBuilder| {
                let bytes = plan.build().and_then(|plan| logical_plan_to_bytes(&plan));
                bytes.expect("a plan").to_vec()
            };
            let values = |row| LogicalPlanBuilder::values(vec![row]).expect("values");
            let filtered = values(vec![lit(1_i64), lit("a")]).filter(col("column1").gt(lit(1_i64)));
            vec![
                encoded(filtered.expect("a filter")),
                encoded(values(vec![list()])),
                deep(2_000),
                framed("mongodb"),
                framed("kafka"),
                framed("images"),
            ]
        }
        // The first is a scan of files that says nothing about itself.
        "physical_plans" => {
            vec![
                vec![0x0a, 0],
                deep(2_000),
                framed("mongodb"),
                framed("kafka"),
                framed("images"),
                framed("cache"),
            ]
        }
        // Of each file, with nothing changed and with a claim in the metadata.
        "shuffles" => (0..9).flat_map(|file| [vec![file, 9], vec![file, 255, 8, 2, 0xff]]).collect(),
        "options" => texts(&[
            "events\nbatchRows=100\nmode=PERMISSIVE\npartitionSizeMB=3",
            "topic\nstartingOffsets={\"0\": 7}\nendingOffsets=latest\nformat.value=json\nminPartitions=4",
        ]),
        "sql" => texts(&[
            "SELECT a.b[1], count(*) FILTER (WHERE x > 1) OVER (PARTITION BY y) FROM t a JOIN u USING (id) ORDER BY 1",
            "CACHE TABLE \"T\" AS WITH q AS (SELECT 1) SELECT * FROM q UNION ALL VALUES (2, 'x')",
            "CREATE EXTERNAL TABLE t (a INT) STORED AS MONGODB LOCATION 'x' OPTIONS ('mode' 'FAILFAST')",
            "SELECT ((((((((((((((((((((((((((((((((1))))))))))))))))))))))))))))))))",
        ]),
        _ => texts(&[
            "\0jobs",
            "\0job/0/stages",
            "\x03job/%2e%2e",
            "\0executors?x=%00",
            "\0firesteel/activity?name=é",
        ]),
    }
}

/// A list, which travels as rows of Arrow.
fn list() -> Expr {
    let values: Vec<_> = (0..9).map(|value| ScalarValue::Int64(Some(value))).collect();
    lit(ScalarValue::List(ScalarValue::new_list_nullable(&values, &DataType::Int64)))
}

/// What looks like something of a connector's, in the fields of a message.
fn framed(connector: &str) -> Vec<u8> {
    [field(1, connector.as_bytes()), field(2, &field(1, b"default")), field(3, &[1, 2, 3])].concat()
}

#[test]
fn targets_take_any_bytes() {
    let seconds = std::env::var("FIRESTEEL_TEST_FUZZ_SECONDS").ok().and_then(|value| value.parse().ok());
    let seed = std::env::var("FIRESTEEL_TEST_SEED").ok().and_then(|value| value.parse().ok()).unwrap_or(1);
    for (name, target) in TARGETS {
        let (good, mut random) = (good(name), StdRng::seed_from_u64(seed));
        let (began, mut tried) = (Instant::now(), 0);
        let goes_on = |tried: usize| match seconds {
            Some(seconds) => began.elapsed() < Duration::from_secs(seconds),
            None => tried < INPUTS + good.len(),
        };
        while goes_on(tried) {
            let mut bytes = match good.get(tried) {
                Some(bytes) => bytes.clone(),
                None if random.random() => noise(&mut random, 512),
                None => good.choose(&mut random).cloned().unwrap_or_default(),
            };
            if tried >= good.len() {
                mutate(&mut random, &mut bytes);
            }
            let ended = catch_unwind(AssertUnwindSafe(|| target(&bytes)));
            assert!(ended.is_ok(), "{name} fails with {bytes:?}, {}", String::from_utf8_lossy(&bytes));
            tried += 1;
        }
        println!("{name}: {tried} inputs in {:?}", began.elapsed());
    }
}
