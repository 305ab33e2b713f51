//! The models of `pipeline` as SQL functions of `engine`. Neither crate knows the other.
//!
//! ```text
//! a column of bytes ──▶ nulls aside ──▶ pipeline's Classifier ──▶ a column of answers, null where there is no image
//!                                             ▲
//!          'name' or nothing ──▶ models ──────┘ loaded when it is first asked
//! ```
//!
//! Client, scheduler and executors register the same functions, each with its own models: files, names, precisions and device are
//! settings of the process that computes. A process loads a model at the first call; its memory counts against the memory
//! pool of the tasks. The result is null for a null and for bytes that are no readable image, because one damaged
//! file must not end a query over millions. Any other failure ends the query.

mod answers;
mod models;

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use firesteel_engine::functions::{Functions, Literal, Memory, Parameter, Vectorized};
use firesteel_pipeline::inference::Classifier;

use self::answers::Images;
pub(crate) use self::models::Config;
use self::models::Models;
use crate::args::fields::Settings;

/// What a function gives for the images of a column, with the literals of the call.
type Answer = fn(&Classifier, &Images<'_>, &[Literal]) -> anyhow::Result<ArrayRef>;

/// The functions that SQL can call besides those of DataFusion. `settings` names settings in errors.
pub(crate) fn functions(config: Config, settings: Arc<Settings>) -> Functions {
    let memory = Memory::new();
    let models = Arc::new(Models::new(config, settings, memory.clone()));
    let model = || Parameter::text("model").optional();
    let classify = function(&models, "classify", [model()], answers::class_type(), |model, images, _| {
        answers::classes(model, images)
    });
    let top = [Parameter::integer("k", 1), model()];
    let top =
        function(&models, "classify_top", top, answers::top_classes_type(), |model, images, literals| {
            let k = literals.first().and_then(Literal::as_integer).unwrap_or(1);
            answers::top_classes(model, images, usize::try_from(k).unwrap_or(usize::MAX))
        });
    let gives = answers::class_probabilities_type();
    let probabilities = function(&models, "class_probabilities", [model()], gives, |model, images, _| {
        answers::class_probabilities(model, images)
    });
    let gives = answers::embedding_type();
    let embedding = function(&models, "image_embedding", [model()], gives, |model, images, _| {
        answers::embeddings(model, images)
    });
    let functions = [
        // One of them accounts for the models that they share.
        classify.holding(memory).documented(
            "classify(image[, model])",
            "What is in an image (JPEG, PNG, WebP, raw RGB): struct of label and confidence; null for what is no image",
        ),
        top.documented(
            "classify_top(image, k[, model])",
            "The k most probable classes of an image: list of structs of label and confidence, the best first",
        ),
        probabilities.documented(
            "class_probabilities(image[, model])",
            "The probability of each class for an image: map from label to probability, in the order of the classes",
        ),
        embedding.documented(
            "image_embedding(image[, model])",
            "What a model finds in an image before it names a class: list of numbers, for array_distance and cosine_distance",
        ),
    ];
    let all = functions.into_iter().fold(Functions::new(), Functions::vectorized);
    all.fingerprint("classify", move || models.fingerprint())
}

/// A function of a column of bytes and of literals, the last of which, where it is a text, names the model.
fn function(
    models: &Arc<Models>,
    name: &'static str,
    parameters: impl Into<Vec<Parameter>>,
    gives: DataType,
    answer: Answer,
) -> Vectorized {
    let models = Arc::clone(models);
    let apply = move |column: &ArrayRef, literals: &[Literal]| -> Result<ArrayRef, String> {
        let images = Images::of(column, name, &models.warned);
        let model = literals.last().and_then(Literal::as_text);
        let answers = images.and_then(|images| models.with(model, |model| answer(model, &images, literals)));
        answers.map_err(|error| format!("{error:#}"))
    };
    let accepts = [DataType::Binary, DataType::LargeBinary, DataType::BinaryView];
    Vectorized::with_literals(name, accepts, parameters, gives, apply)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use firesteel_engine::Session;

    use super::*;

    /// An engine with two models: the shipped one, which has the default's place, and the same in int8 as `small`.
    async fn session() -> Session {
        let settings = Arc::new(Settings::new(crate::cli::Cli::command(), Some("executor")));
        let models = ["shipped", "small=shipped,precision=int8"];
        let models = models.map(|text| text.parse().expect("a model")).to_vec();
        let functions = functions(Config { models, ..Config::default() }, settings);
        let config = firesteel_engine::Config { functions, ..firesteel_engine::Config::default() };
        Session::embedded(config).await.expect("an engine")
    }

    /// A null, what is no image, and four images of raw RGB.
    const ROWS: &str = "(VALUES (1, NULL), (2, x'ffd8ff00'), (3, arrow_cast(repeat('a', 3072), 'Binary')), \
                        (4, arrow_cast(repeat('abc', 1024), 'Binary')), (5, arrow_cast(repeat('Zebra ', 512), 'Binary')), \
                        (6, arrow_cast(repeat('a', 3072), 'Binary'))) AS t(id, data)";

    async fn texts(session: &Session, query: &str) -> Vec<Option<String>> {
        let planned = session.sql(query).await.expect("it plans");
        planned.collect_as::<(Option<String>,)>().await.expect("rows").into_iter().map(|row| row.0).collect()
    }

    async fn numbers(session: &Session, query: &str) -> Vec<Option<f64>> {
        let planned = session.sql(query).await.expect("it plans");
        planned.collect_as::<(Option<f64>,)>().await.expect("rows").into_iter().map(|row| row.0).collect()
    }

    async fn failure(session: &Session, query: &str) -> String {
        let failed = match session.sql(query).await {
            Ok(planned) => planned.collect_as::<(Option<String>,)>().await.map(|_| ()),
            Err(error) => Err(error),
        };
        failed.expect_err(query).to_string()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_functions_are_listed_with_their_arguments() {
        let session = session().await;
        let syntax = |name: &str| {
            let function = session.functions().into_iter().find(|function| function.name == name);
            function.map(|function| function.syntax)
        };
        for expected in [
            "classify(image[, model])",
            "classify_top(image, k[, model])",
            "class_probabilities(image[, model])",
            "image_embedding(image[, model])",
        ] {
            let name = expected.split('(').next().expect("a name");
            assert_eq!(syntax(name).as_deref(), Some(expected));
        }
        session.shutdown().await;
    }

    /// The statements of the documentation, through DataFusion's planner with the settings of an engine.
    #[tokio::test(flavor = "multi_thread")]
    async fn sql_classifies_and_takes_fields() {
        let session = session().await;
        for model in ["", ", 'resnet18-cifar10'", ", 'small'", ", 'small/int8'"] {
            let query = format!("SELECT (classify(data{model})).label FROM {ROWS} ORDER BY id");
            let labels = texts(&session, &query).await;
            assert!(labels[..2].iter().all(Option::is_none), "{model}: {labels:?}");
            assert!(labels[2..].iter().all(Option::is_some), "{model}: {labels:?}");
            let confidence = format!("CAST((classify(data{model})).confidence AS DOUBLE)");
            let query = format!("SELECT {confidence} FROM {ROWS} ORDER BY id");
            let confidences = numbers(&session, &query).await;
            assert!(confidences[..2].iter().all(Option::is_none));
            assert!(
                confidences[2..].iter().all(|c| c.is_some_and(|c| (0.1..=1.0).contains(&c))),
                "{confidences:?}"
            );
        }
        session.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_best_classes_are_those_with_the_largest_probabilities() {
        let session = session().await;
        for model in ["", ", 'small'"] {
            let best = format!("(classify_top(data, 3{model}))");
            for (what, expected) in [
                ("CAST(array_length{best} AS DOUBLE)", 3.0),
                ("CAST(cardinality(class_probabilities(data{model})) AS DOUBLE)", 10.0),
                ("CAST(array_length(classify_top(data, 1000{model})) AS DOUBLE)", 10.0),
                ("CAST({best}[1]['label'] = classify(data{model})['label'] AS DOUBLE)", 1.0),
                ("CAST({best}[1]['confidence'] = classify(data{model})['confidence'] AS DOUBLE)", 1.0),
                ("CAST({best}[2]['confidence'] >= {best}[3]['confidence'] AS DOUBLE)", 1.0),
                (
                    "CAST(array_max(map_values(class_probabilities(data{model}))) = {best}[1]['confidence'] AS DOUBLE)",
                    1.0,
                ),
                ("CAST(class_probabilities(data{model})['no such class'] IS NULL AS DOUBLE)", 1.0),
                ("CAST(class_probabilities(data{model})['airplane'] IS NOT NULL AS DOUBLE)", 1.0),
            ] {
                let what = what.replace("{best}", &best).replace("{model}", model);
                let query = format!("SELECT {what} FROM {ROWS} WHERE id > 2");
                assert_eq!(numbers(&session, &query).await, vec![Some(expected); 4], "{what}");
            }
            let nulls = format!(
                "SELECT CAST(classify_top(data, 2{model}) IS NULL AND class_probabilities(data{model}) IS NULL \
                 AND image_embedding(data{model}) IS NULL AS DOUBLE) FROM {ROWS} WHERE id < 3"
            );
            assert_eq!(numbers(&session, &nulls).await, [Some(1.0); 2]);
        }
        let query = format!(
            "SELECT CAST(sum(entry['value']) AS DOUBLE) FROM \
             (SELECT id, unnest(map_entries(class_probabilities(data))) AS entry FROM {ROWS} WHERE id > 2) GROUP BY id"
        );
        let sums = numbers(&session, &query).await;
        assert!(
            sums.len() == 4 && sums.iter().all(|sum| sum.is_some_and(|s| (s - 1.0).abs() < 1e-5)),
            "{sums:?}"
        );
        session.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn images_have_neighbours() {
        let session = session().await;
        let lengths =
            format!("SELECT CAST(array_length(image_embedding(data)) AS DOUBLE) FROM {ROWS} WHERE id > 2");
        assert_eq!(numbers(&session, &lengths).await, [Some(512.0); 4]);
        let nearest = |distance: &str| {
            format!(
                "WITH e AS (SELECT id, image_embedding(data) AS embedding FROM {ROWS} WHERE id > 2) \
                 SELECT CAST(other.id AS DOUBLE) FROM e AS asked JOIN e AS other ON other.id <> asked.id \
                 WHERE asked.id = 3 ORDER BY {distance}(asked.embedding, other.embedding) LIMIT 1"
            )
        };
        for distance in ["array_distance", "cosine_distance"] {
            let found = numbers(&session, &nearest(distance)).await;
            assert_eq!(found, [Some(6.0)], "{distance}: the image of the same bytes");
        }
        session.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_no_model_and_no_number_is_refused_by_name() {
        let session = session().await;
        for (call, words) in [
            ("classify(data, 'big')", ["\"big\"", "resnet18-cifar10/f32, small/int8"]),
            ("image_embedding(data, 'small@2')", ["\"small@2\"", "--model"]),
            ("classify(data, CAST(id AS VARCHAR))", ["model has to be a literal", "classify"]),
            ("classify(data, NULL)", ["model is NULL", "classify"]),
            ("classify_top(data, 0)", ["k is 0, expected a whole number from 1 on", "classify_top"]),
            ("classify_top(data, -3, 'small')", ["k is -3", "classify_top"]),
            ("classify_top(data, id)", ["k has to be a literal", "classify_top"]),
            ("classify_top(data)", ["classify_top", "classify_top"]),
            ("class_probabilities('text')", ["class_probabilities", "class_probabilities"]),
        ] {
            let error =
                failure(&session, &format!("SELECT CAST({call} IS NULL AS VARCHAR) FROM {ROWS}")).await;
            for word in words {
                assert!(error.contains(word), "{call}: {word} in {error}");
            }
        }
        session.shutdown().await;
    }
}
