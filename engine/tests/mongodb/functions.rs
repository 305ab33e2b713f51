//! Registered Rust functions run on the executor, called from SQL and from the map / reduce API.

use std::collections::BTreeMap;

use firesteel_engine::Error;
use firesteel_engine::prelude::*;

use crate::{Fixture, predictions};

/// The most frequent string; of several, the first in alphabetical order.
#[derive(Debug, Default)]
struct Mode {
    counts: BTreeMap<String, u64>,
}

impl Aggregate for Mode {
    type Input = &'static str;
    type State = (Vec<u8>,);
    type Output = Option<String>;

    fn add(&mut self, value: &str) {
        *self.counts.entry(value.to_owned()).or_default() += 1;
    }

    fn state(&self) -> Self::State {
        (serde_json::to_vec(&self.counts).unwrap(),)
    }

    fn merge(&mut self, (counts,): Self::State) {
        let counts: BTreeMap<String, u64> = serde_json::from_slice(&counts).unwrap();
        for (value, count) in counts {
            *self.counts.entry(value).or_default() += count;
        }
    }

    fn finish(&self) -> Option<String> {
        // `max_by` returns the last of equal counts, so the order is reversed.
        self.counts.iter().rev().max_by_key(|(_, count)| **count).map(|(value, _)| value.clone())
    }
}

fn functions() -> Functions {
    Functions::new()
        .scalar("is_wrong", |label: &str, predicted: &str| label != predicted)
        .scalar("initial", |label: Option<&str>| label.and_then(|label| label.get(..1)).map(str::to_owned))
        .scalar("checked_half", |n: i64| if n < 300 { Ok(n / 2) } else { Err(format!("{n} is too `large`")) })
        .aggregate::<Mode>("mode")
}

#[tokio::test(flavor = "multi_thread")]
async fn registered_functions_run_on_the_executor() -> anyhow::Result<()> {
    let Some(fixture) = Fixture::start_with("registered", |config| config.functions = functions()).await?
    else {
        return Ok(());
    };
    fixture.fill("predictions", true, &predictions(1_000, 3)).await?;
    let session = &fixture.session;

    // 143 of 1,000 numbers are divisible by seven.
    let sql = "SELECT count(*) FROM predictions WHERE is_wrong(label, predicted)";
    assert_eq!(session.sql(sql).await?.collect_as::<(i64,)>().await?, [(143,)]);
    let is_wrong = session.call("is_wrong", (col("label"), col("predicted")))?;
    let wrong: Vec<(String, i64)> = session
        .table("predictions")
        .await?
        .map(session.call("initial", col("label"))?.alias("letter"), is_wrong.cast_to_i64())
        .reduce_by_key(Reducer::Sum)?
        .sort_by(col("letter"), true)?
        .collect_as()
        .await?;
    let letters: String = wrong.iter().map(|(letter, _)| letter.as_str()).collect();
    assert_eq!(letters, "abcdfhst");
    assert_eq!(wrong.iter().map(|(_, wrong)| wrong).sum::<i64>(), 143);

    let mode = session.call("mode", col("label"))?;
    let several: Vec<(String, String, String, i64)> = session
        .table("predictions")
        .await?
        .filter(col("label").in_list(vec![lit("cat"), lit("dog"), lit("ship")], false))?
        .map(col("producer_id"), col("predicted"))
        .aggregate_by_key(|value| (mode, min(value[0].clone()), count(value[0].clone())))?
        .sort_by(col("producer_id"), true)?
        .collect_as()
        .await?;
    let sql = "SELECT producer_id, mode(label), min(predicted), count(predicted) FROM predictions \
               WHERE label IN ('cat', 'dog', 'ship') GROUP BY 1 ORDER BY 1";
    assert_eq!(several, session.sql(sql).await?.collect_as::<(String, String, String, i64)>().await?);
    let documents = predictions(1_000, 3);
    for (producer, mode, ..) in &several {
        let of = |label: &str| {
            let mine = documents.iter().filter(|d| d.get_str("producer_id").unwrap() == producer);
            mine.filter(|d| d.get_str("label").unwrap() == label).count()
        };
        let expected = ["cat", "dog", "ship"].into_iter().rev().max_by_key(|label| of(label)).unwrap();
        assert_eq!(mode, expected, "{producer}");
    }
    let sql = "SELECT mode(predicted) FILTER (WHERE label = 'dog') FROM predictions";
    assert_eq!(session.sql(sql).await?.collect_as::<(String,)>().await?, [("dog".to_owned(),)]);

    let error = session.sql("SELECT max(checked_half(sequence)) FROM predictions").await?;
    let error = error.collect().await.unwrap_err();
    assert!(
        matches!(&error, Error::FunctionFailed { name, message } if name == "checked_half" && message.ends_with("is too `large`")),
        "{error}"
    );
    let error = session.call("is_right", col("label")).unwrap_err();
    assert!(matches!(&error, Error::UnknownFunction { name, .. } if name == "is_right"), "{error}");
    session.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_with_a_bad_name_keeps_the_engine_from_starting() {
    let functions = Functions::new().scalar("upper", |text: &str| text.to_uppercase());
    let error = Session::embedded(Config { functions, ..Config::default() }).await.unwrap_err();
    assert!(matches!(&error, Error::InvalidFunction { name, .. } if name == "upper"), "{error}");
}
