//! Letters are read, fetched and replayed: each record once, however often a replay is tried and however it ended.

use crate::topic::{self, header};
use crate::world::World;
use firesteel_pipeline::Error;
use firesteel_pipeline::kafka::letters::replay::{
    self, Config, Fate, Left, Stats, Summary, transactional_id,
};
use firesteel_pipeline::kafka::letters::{Fetched, Fetcher, Filter, Letter, Letters, marks_topic};
use firesteel_pipeline::kafka::{Message, Publisher, TopicSpec, dead_letter_topic, ensure_topics};
use firesteel_testkit::{SOON, TempTopics, unique};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, Headers, Message as _, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use tokio_util::sync::CancellationToken;

const PARTITIONS: i32 = 2;
const KEY: &[u8] = b"0000002a";

/// A letter that is about to be written.
#[derive(Clone, Default)]
struct Draft {
    value: Vec<u8>,
    own: Vec<(&'static str, String)>,
    source: i64,
    /// The size of the whole record, where the letter has only the beginning of it.
    cut_from: Option<usize>,
    class: Option<&'static str>,
}

impl Draft {
    fn new(index: usize) -> Self {
        let own = vec![("trace", format!("trace-{index}"))];
        Self { value: value(index), own, source: index as i64, ..Self::default() }
    }

    fn headers(&self, topic: &str) -> OwnedHeaders {
        let offset = self.source.to_string();
        let mut all: Vec<(&str, &str)> = self.own.iter().map(|(key, value)| (*key, value.as_str())).collect();
        all.extend([
            ("source.topic", topic),
            ("source.partition", "0"),
            ("source.offset", &offset),
            ("error.class", self.class.unwrap_or("test")),
            ("error.message", "it was not meant to succeed"),
        ]);
        let size = self.cut_from.map(|size| size.to_string());
        all.extend(size.as_deref().map(|size| ("source.size", size)));
        all.into_iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        })
    }
}

fn value(index: usize) -> Vec<u8> {
    format!("record-{index:04}").into_bytes()
}

/// Makes the topics, and writes letters of the predictions.
async fn write(world: &World, drafts: &[Draft]) {
    let letters = dead_letter_topic(&world.predictions);
    let specs = [&world.predictions, &letters].map(|name| TopicSpec::new(name).with_partitions(PARTITIONS));
    ensure_topics(&world.kafka, "test", &specs).await.expect("topics");
    let publisher = Publisher::new(&world.kafka, "test", SOON).expect("a publisher");
    let mut waiting = Vec::new();
    for draft in drafts {
        // A letter that was cut has no key, so it may be in any partition.
        let key = draft.cut_from.is_none().then_some(KEY);
        let headers = Some(draft.headers(&world.predictions));
        let message = Message { topic: &letters, key, payload: Some(&draft.value), headers };
        waiting.push(publisher.enqueue(message).await.expect("queued"));
    }
    for sent in waiting {
        sent.await.expect("acknowledged");
    }
}

fn some(count: usize) -> Vec<Draft> {
    (0..count).map(Draft::new).collect()
}

fn config(world: &World) -> Config {
    Config::new(world.kafka.clone(), &world.predictions)
}

async fn replay(config: Config) -> Summary {
    run(config).await.expect("replayed")
}

async fn run(config: Config) -> Result<Summary, Error> {
    replay::run(config, &Stats::default(), |_, _| {}, CancellationToken::new()).await
}

fn left(left: Left, count: u64) -> BTreeMap<Left, u64> {
    BTreeMap::from([(left, count)])
}

/// How often each value is in the topic of the predictions, as a consumer sees it.
async fn sent(world: &World, topic: &str) -> BTreeMap<Vec<u8>, usize> {
    let mut counts = BTreeMap::new();
    for message in topic::read(&world.kafka, topic).await {
        *counts.entry(message.payload().expect("a value").to_vec()).or_default() += 1;
    }
    counts
}

fn each_once(count: usize) -> BTreeMap<Vec<u8>, usize> {
    (0..count).map(|index| (value(index), 1)).collect()
}

async fn letters(world: &World, filter: Filter) -> Vec<Letter> {
    let mut reading =
        Letters::open(&world.kafka, &world.predictions, filter).await.expect("read").expect("a topic");
    let mut found = Vec::new();
    while let Some(letter) = reading.next().await.expect("read") {
        found.push(letter);
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_sends_each_record_once_and_a_second_one_nothing() {
    let Some(world) = World::new("replay") else { return };
    assert_eq!(run(config(&world)).await.expect("nothing to do"), Summary::default(), "no letters yet");
    write(&world, &some(25)).await;
    assert_eq!(letters(&world, Filter::default()).await.len(), 25);
    let one = Filter { sources: vec!["0:7".parse().expect("a place")], ..Filter::default() };
    let found = letters(&world, one.clone()).await;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].producer(), found[0].value()), (Some("0000002a"), Some(&value(7)[..])));

    let dry = replay(Config { dry_run: true, ..config(&world) }).await;
    assert_eq!((dry.replayed, sent(&world, &world.predictions).await), (25, BTreeMap::new()));
    let first = replay(Config { filter: one, ..config(&world) }).await;
    assert_eq!(first, Summary { replayed: 1, ..Summary::default() });
    let rest = replay(Config { batch: 10, ..config(&world) }).await;
    assert_eq!((rest.replayed, rest.left), (24, left(Left::AlreadyReplayed, 1)));
    let again = replay(config(&world)).await;
    assert_eq!((again.replayed, again.left), (0, left(Left::AlreadyReplayed, 25)));
    assert_eq!(sent(&world, &world.predictions).await, each_once(25));

    let record = topic::read(&world.kafka, &world.predictions)
        .await
        .into_iter()
        .find(|m| m.payload() == Some(&value(7)));
    let record = record.expect("sent");
    assert_eq!(record.key(), Some(KEY));
    let at = found[0].at();
    let of = format!("{}:{at}", dead_letter_topic(&world.predictions));
    assert_eq!(names(&record), ["trace", "replay.attempts", "replay.of"]);
    for (name, value) in [("trace", "trace-7"), ("replay.attempts", "1"), ("replay.of", &of)] {
        assert_eq!(header(&record, name), value);
    }
    // A shutdown before the end sends nothing more.
    let stopped = CancellationToken::new();
    stopped.cancel();
    let interrupted =
        replay::run(config(&world), &Stats::default(), |_, _| {}, stopped).await.expect("interrupted");
    assert_eq!(interrupted, Summary { interrupted: true, ..Summary::default() });
}

fn names(message: &OwnedMessage) -> Vec<String> {
    message.headers().expect("headers").iter().map(|header| header.key.to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replay_that_died_has_left_open_is_undone_and_sent_once() {
    let Some(world) = World::new("replay-dead") else { return };
    write(&world, &some(20)).await;
    let letters = dead_letter_topic(&world.predictions);
    assert_eq!(replay(Config { batch: 5, filter: half(), ..config(&world) }).await.replayed, 10);

    // As far as the cluster knows, this one stands still between its records and its commit.
    let dead = transactional(&world, &letters);
    dead.init_transactions(SOON).expect("the earlier replay has ended");
    dead.begin_transaction().expect("begun");
    for index in 10..15 {
        let (value, mark) = (value(index), format!("0:{index}"));
        let record = FutureRecord::<[u8], [u8]>::to(&world.predictions).key(KEY).payload(&value);
        dead.send(record, SOON).await.expect("sent");
        let marks = marks_topic(&letters);
        let record = FutureRecord::<str, str>::to(&marks).key(&mark).payload("{}");
        dead.send(record, SOON).await.expect("sent");
    }
    let rest = replay(config(&world)).await;
    assert_eq!((rest.replayed, rest.left), (10, left(Left::AlreadyReplayed, 10)));
    assert_eq!(sent(&world, &world.predictions).await, each_once(20));
    let late = tokio::task::spawn_blocking(move || dead.commit_transaction(SOON)).await.expect("no panic");
    assert!(late.is_err(), "it is fenced");
    assert_eq!(sent(&world, &world.predictions).await, each_once(20));
}

/// The records of the first ten offsets.
fn half() -> Filter {
    Filter { sources: vec!["0:0..9".parse().expect("places")], ..Filter::default() }
}

fn transactional(world: &World, letters: &str) -> FutureProducer {
    ClientConfig::new()
        .set("bootstrap.servers", &world.kafka.bootstrap)
        .set("transactional.id", transactional_id(letters))
        .create()
        .expect("a producer")
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_replays_at_once_one_goes_on_and_each_record_is_sent_once() {
    let Some(world) = World::new("replay-two") else { return };
    write(&world, &some(200)).await;
    let small = || Config { batch: 2, ..config(&world) };
    let (first, second) = tokio::join!(run(small()), run(small()));
    let mut replayed = 0;
    for ended in [first, second] {
        match ended {
            Ok(summary) => replayed += summary.replayed,
            Err(Error::ReplayTakenOver { letters }) => {
                assert_eq!(letters, dead_letter_topic(&world.predictions))
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(replayed > 0, "one of them went on to the end");
    replay(config(&world)).await;
    assert_eq!(sent(&world, &world.predictions).await, each_once(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_comes_back_is_replayed_three_times_and_a_gap_never() {
    let Some(world) = World::new("replay-attempts") else { return };
    let replayed = |index: usize, times: u32| Draft {
        own: vec![("replay.attempts", times.to_string()), ("replay.of", "l:0:0".to_owned())],
        ..Draft::new(index)
    };
    let gap = Draft { class: Some("data-loss"), ..Draft::new(9) };
    write(&world, &[replayed(0, 2), replayed(1, 3), gap]).await;
    let mut fates = Vec::new();
    let told = |letter: &Letter, fate: &Fate| fates.push((letter.facts().offset, fate.clone()));
    let summary = replay::run(config(&world), &Stats::default(), told, CancellationToken::new()).await;
    let expected = BTreeMap::from([(Left::TooOften, 1), (Left::Gap, 1)]);
    assert_eq!(summary.expect("replayed"), Summary { replayed: 1, left: expected, interrupted: false });
    fates.sort_by_key(|(offset, _)| *offset);
    let to = world.predictions.clone();
    let expected = [
        (Some(0), Fate::Replayed { to, attempt: 3 }),
        (Some(1), Fate::Left(Left::TooOften)),
        (Some(9), Fate::Left(Left::Gap)),
    ];
    assert_eq!(fates, expected);
    let more = replay(Config { max_attempts: 4, ..config(&world) }).await;
    assert_eq!(more.replayed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_was_cut_is_replayed_whole_as_long_as_its_record_is_kept() {
    let Some(world) = World::new("replay-cut") else { return };
    let whole = vec![b'x'; 400_000];
    let spec = TopicSpec::new(&world.predictions).with_partitions(PARTITIONS);
    ensure_topics(&world.kafka, "test", &[spec]).await.expect("a topic");
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", &world.kafka.bootstrap).create().expect("a producer");
    // Two records at the offsets 0 and 1. The second was replayed once.
    for trace in ["first", "second"] {
        let headers = OwnedHeaders::new()
            .insert(Header { key: "trace", value: Some(trace) })
            .insert(Header { key: "replay.attempts", value: Some("1") });
        let record = FutureRecord::<[u8], [u8]>::to(&world.predictions).partition(0).key(KEY).payload(&whole);
        producer.send(record.headers(headers), SOON).await.expect("sent");
    }
    let cut = |source| Draft {
        value: whole[..1_000].to_vec(),
        own: Vec::new(),
        source,
        cut_from: Some(whole.len()),
        class: None,
    };
    let other = Draft { value: b"other".to_vec(), ..cut(1) };
    write(&world, &[cut(0), cut(1), other, cut(99)]).await;
    delete_before(&world, 1).await;

    let found = letters(&world, Filter::default()).await;
    let fetcher = Fetcher::new(&world.kafka).expect("a client");
    for letter in &found {
        let fetched = fetcher.fetch(letter).await.expect("asked");
        match (letter.facts().offset, letter.value().map(<[u8]>::len), fetched) {
            (Some(1), Some(1_000), Fetched::Whole(record)) => assert_eq!(record.value(), Some(&whole[..])),
            (Some(1), Some(5), Fetched::Another)
            | (Some(0 | 99), _, Fetched::Gone { kept: Some((1, 2)) }) => {}
            (offset, _, fetched) => panic!("{offset:?}: {fetched:?}"),
        }
    }
    let summary = replay(config(&world)).await;
    let expected = BTreeMap::from([(Left::Gone, 2), (Left::Another, 1)]);
    assert_eq!((summary.replayed, summary.left), (1, expected));
    let records = topic::read(&world.kafka, &world.predictions).await;
    let last = records.iter().max_by_key(|m| (m.timestamp(), m.offset())).expect("records");
    assert_eq!((records.len(), last.payload(), last.key()), (2, Some(&whole[..]), Some(KEY)));
    assert_eq!(
        (header(last, "trace"), header(last, "replay.attempts")),
        ("second".to_owned(), "2".to_owned())
    );
}

fn admin(world: &World) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", &world.kafka.bootstrap).create().expect("a client")
}

/// Removes the first records of partition 0 of the predictions, as retention does.
async fn delete_before(world: &World, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&world.predictions, 0, Offset::Offset(offset)).expect("a place");
    let options = AdminOptions::new().operation_timeout(Some(SOON));
    for element in admin(world).delete_records(&list, &options).await.expect("deleted").elements() {
        element.error().expect("deleted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_its_topic_refuses_stays_behind_alone() {
    let Some(world) = World::new("replay-refused") else { return };
    let small = unique("replay-small");
    let _topics = TempTopics::new(&world.kafka.bootstrap, [small.clone()]);
    let new = NewTopic::new(&small, 1, TopicReplication::Fixed(-1)).set("max.message.bytes", "5000");
    let options = AdminOptions::new().operation_timeout(Some(SOON));
    for made in admin(&world).create_topics([&new], &options).await.expect("made") {
        made.expect("made");
    }
    let mut drafts = some(7);
    drafts[3].value = vec![b'x'; 20_000];
    write(&world, &drafts).await;
    let elsewhere = || Config { to: Some(small.clone()), ..config(&world) };
    let summary = replay(elsewhere()).await;
    assert_eq!((summary.replayed, summary.left), (6, left(Left::Refused, 1)));
    let mut expected = each_once(7);
    expected.remove(&value(3));
    assert_eq!(sent(&world, &small).await, expected);
    let again = replay(elsewhere()).await;
    assert_eq!(again.left, BTreeMap::from([(Left::AlreadyReplayed, 6), (Left::Refused, 1)]));
    assert_eq!(sent(&world, &small).await, expected);
    // There is no such topic, and none is made.
    let missing = run(Config { to: Some(unique("missing")), ..config(&world) }).await.expect_err("no topic");
    assert!(matches!(missing, Error::Topic { action: "replay into", .. }), "{missing}");
}
