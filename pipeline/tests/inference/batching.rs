//! Batches form while the model is busy, never by waiting for a clock; nothing hangs, whatever the model does.

use crate::fake::{Script, Step, fake, image, prompt};
use firesteel_pipeline::inference::batcher::{Batcher, ClassifyError, Handle, Options};
use firesteel_pipeline::inference::{Classification, Error, Stats};
use firesteel_proto::Encoding;
use std::sync::Arc;
use tokio::task::JoinHandle;

type Answer = JoinHandle<Result<Classification, ClassifyError>>;

fn start(options: Options) -> (Batcher, Handle, Script) {
    let (model, script) = fake();
    let batcher = Batcher::start(vec![model], options, Arc::default()).unwrap();
    let handle = batcher.handle();
    (batcher, handle, script)
}

fn submit(handle: &Handle, classes: impl IntoIterator<Item = usize>) -> Vec<Answer> {
    let one = |class| {
        let handle = handle.clone();
        tokio::spawn(async move { handle.classify(Encoding::Rgb8, image(class).into()).await })
    };
    classes.into_iter().map(one).collect()
}

async fn until(stats: &Stats, reached: impl Fn(&Stats) -> bool) {
    while !reached(stats) {
        tokio::task::yield_now().await;
    }
}

async fn classes(answers: Vec<Answer>) -> Vec<usize> {
    let mut classes = Vec::new();
    for answer in answers {
        classes.push(answer.await.unwrap().unwrap().class);
    }
    classes
}

#[tokio::test]
async fn a_batch_is_what_queued_while_the_model_was_busy() {
    let (batcher, handle, mut script) = start(Options { max_batch: 4, ..Options::default() });
    let first = submit(&handle, [9]);
    assert_eq!(script.started().await, 1, "an idle model takes a single image at once");
    let rest = submit(&handle, 0..10);
    until(handle.stats(), |s| s.ready() == 10).await;
    assert_eq!(handle.stats().queued(), 10);
    script.go(Step::Answer);
    for expected in [4, 4, 2] {
        assert_eq!(script.answer().await, expected);
    }
    assert_eq!(classes(first).await, [9]);
    assert_eq!(classes(rest).await, (0..10).collect::<Vec<_>>(), "every caller gets its own answer");
    batcher.shutdown().await;
    let stats = handle.stats();
    assert_eq!((stats.images(), stats.batches(), stats.queued(), stats.ready()), (11, 4, 0, 0));
    assert!((stats.mean_batch() - 2.75).abs() < 1e-9);
}

#[tokio::test]
async fn two_model_threads_share_the_work() {
    let models = vec![prompt(), prompt()];
    let batcher = Batcher::start(models, Options::default(), Arc::default()).unwrap();
    let answers = submit(&batcher.handle(), (0..100).map(|i| i % 10));
    assert_eq!(classes(answers).await, (0..100).map(|i| i % 10).collect::<Vec<_>>());
    batcher.shutdown().await;
}

#[tokio::test]
async fn a_full_queue_refuses_or_makes_wait() {
    let (batcher, handle, mut script) = start(Options { queue: 2, ..Options::default() });
    let accepted = submit(&handle, [1, 2]);
    let taken = script.started().await as u64;
    until(handle.stats(), |s| s.queued() == 2 - taken).await;
    assert!(matches!(handle.try_acquire(1), Err(ClassifyError::Full { limit: 2, .. })));
    assert_eq!(handle.stats().refused(), 1);
    let waiting = submit(&handle, [3]);
    drop(script);
    assert_eq!(classes(accepted).await, [1, 2]);
    assert_eq!(classes(waiting).await, [3], "who waits gets the place that became free");
    batcher.shutdown().await;
}

#[tokio::test]
async fn a_bad_image_never_reaches_the_model() {
    let (batcher, handle, script) = start(Options { max_image_bytes: 100, ..Options::default() });
    for (encoding, data, reason) in [
        (Encoding::Rgb8, vec![1; 11], "11 bytes of raw RGB, the model takes 12"),
        (Encoding::Jpeg, vec![1; 11], "not a readable JPEG image"),
        (Encoding::Png, vec![1; 101], "101 bytes, more than the limit of 100"),
    ] {
        let error = handle.classify(encoding, data.into()).await.unwrap_err();
        assert!(matches!(error, ClassifyError::Rejected(_)));
        assert!(error.to_string().contains(reason), "{error}");
    }
    drop(script);
    assert_eq!(handle.classify(Encoding::Rgb8, image(7).into()).await.unwrap().class, 7);
    assert_eq!((handle.stats().rejections(), handle.stats().images()), (3, 1));
    batcher.shutdown().await;
}

#[tokio::test]
async fn a_failing_model_fails_its_batch_and_no_other() {
    let (batcher, handle, mut script) = start(Options::default());
    for (step, reason) in [
        (Step::Fail, "fake/u8 was told to fail"),
        (Step::Short, "fake/u8 gave 9 logits for 1 images of 10 classes"),
        (Step::NotANumber, "fake/u8 gave a logit that is no finite number"),
    ] {
        let answers = submit(&handle, [1]);
        script.started().await;
        script.go(step);
        for answer in answers {
            let error = answer.await.unwrap().unwrap_err();
            assert!(matches!(error, ClassifyError::Model(_)));
            assert_eq!(error.to_string(), reason);
        }
    }
    let answers = submit(&handle, [4]);
    script.answer().await;
    assert_eq!(classes(answers).await, [4]);
    assert_eq!((handle.stats().failures(), handle.stats().images()), (3, 1));
    batcher.shutdown().await;
}

#[tokio::test]
async fn a_panicking_model_fails_everything_and_leaves_nobody_waiting() {
    let (batcher, handle, mut script) = start(Options { max_batch: 1, queue: 4, ..Options::default() });
    let answers = submit(&handle, [1]);
    script.started().await;
    let queued = submit(&handle, 2..10);
    until(handle.stats(), |s| s.queued() == 3).await;
    script.go(Step::Panic);
    for answer in answers.into_iter().chain(queued) {
        let error = answer.await.unwrap().unwrap_err();
        assert_eq!(error.to_string(), "fake/u8 panicked: was told to panic");
    }
    assert!(matches!(handle.failed().await, Error::Panicked { .. }));
    assert!(matches!(handle.try_acquire(1), Err(ClassifyError::Model(_))));
    assert!(matches!(handle.acquire(1).await, Err(ClassifyError::Model(_))));
    batcher.shutdown().await;
}

#[tokio::test]
async fn a_shutdown_answers_what_was_accepted() {
    let (batcher, handle, mut script) = start(Options { max_batch: 2, ..Options::default() });
    let answers = submit(&handle, 0..5);
    let taken = script.started().await as u64;
    until(handle.stats(), |s| s.queued() == 5 - taken).await;
    let ended = tokio::spawn(batcher.shutdown());
    while !matches!(handle.try_acquire(1), Err(ClassifyError::ShuttingDown)) {
        tokio::task::yield_now().await;
    }
    assert!(matches!(handle.acquire(1).await, Err(ClassifyError::ShuttingDown)));
    assert!(!ended.is_finished());
    drop(script);
    assert_eq!(classes(answers).await, [0, 1, 2, 3, 4]);
    ended.await.unwrap();
}

#[tokio::test]
async fn who_gave_up_costs_the_model_nothing() {
    let (batcher, handle, mut script) = start(Options::default());
    let first = submit(&handle, [1]);
    script.started().await;
    let gone = submit(&handle, [2, 3]);
    let stays = submit(&handle, [4]);
    until(handle.stats(), |s| s.ready() == 3).await;
    for answer in gone {
        answer.abort();
        assert!(answer.await.unwrap_err().is_cancelled());
    }
    script.go(Step::Answer);
    assert_eq!(script.answer().await, 1, "only the one that still waits");
    assert_eq!(classes(first).await, [1]);
    assert_eq!(classes(stays).await, [4]);
    batcher.shutdown().await;
}

#[tokio::test]
async fn zero_is_no_setting() {
    let check = |setting: &str, options: Options| {
        let error = Batcher::start(vec![prompt()], options, Arc::default()).unwrap_err().to_string();
        assert_eq!(error, format!("inference server: {setting} is 0, expected at least 1"));
    };
    check("max_batch", Options { max_batch: 0, ..Options::default() });
    check("queue", Options { queue: 0, ..Options::default() });
    check("decode_threads", Options { decode_threads: 0, ..Options::default() });
    let error = Batcher::start(vec![], Options::default(), Arc::default()).unwrap_err().to_string();
    assert_eq!(error, "inference server: threads is 0, expected at least 1");
}
