//! Batches by back-pressure: a batch holds the images that queued while the model was busy, up to `max_batch`. There is no
//! timer.
//!
//! ```text
//! caller ─ Permit ─▶ decode queue ─▶ decode threads ─▶ ready queue ─▶ model threads ─▶ reply to the caller
//!                    (of all models)                   (of one model)
//! ```
//!
//! Several models share the decode threads and the bytes that may wait, which are what memory goes into. Each has places, a ready
//! queue, threads and [`Stats`] of its own, so that one model's batches never wait for another's.
//!
//! A [`Permit`] is one of a model's `queue` places; a caller without one waits or is refused, so the work inside is bounded. Decoding
//! has threads of its own: it blocks neither the async runtime nor the model, which finds pixels ready when it is
//! free. A model that fails fails its batch; a model that panics fails everything under way and ends the
//! batcher, because its state is unknown. No caller waits for an answer that cannot come: a job that is dropped
//! closes its caller's channel.

use super::decode::{Decoder, Limits, Rejection};
use super::error::{Error, Result};
use super::model::{Classification, Model, ModelInfo, classify};
use super::queue::Queue;
use super::stats::Stats;
use bytes::Bytes;
use firesteel_proto::Encoding;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot};
use tokio_util::sync::CancellationToken;

/// The limits of a batcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Images that the model gets at once, at most.
    pub max_batch: usize,
    /// Images accepted for a model and not yet answered, at most.
    pub queue: usize,
    /// Threads that decode, for all models.
    pub decode_threads: usize,
    /// Bytes of the images accepted and not yet answered, at most, for all models, each counted as its file or as the pixels that the model
    /// gets, whichever is more; one image always fits.
    pub queue_bytes: usize,
    /// Bytes that an encoded image may have.
    pub max_image_bytes: usize,
    /// Pixels that an encoded image may have: see [`Limits::max_pixels`], which also says what memory a decode thread takes.
    pub max_image_pixels: u32,
}

impl Default for Options {
    fn default() -> Self {
        let Limits { max_bytes: max_image_bytes, max_pixels: max_image_pixels } = Limits::DEFAULT;
        let (max_batch, queue, decode_threads, queue_bytes) = (64, 256, 1, 64 << 20);
        Self { max_batch, queue, decode_threads, queue_bytes, max_image_bytes, max_image_pixels }
    }
}

impl Options {
    fn limits(&self) -> Limits {
        Limits { max_bytes: self.max_image_bytes, max_pixels: self.max_image_pixels }
    }

    fn kibibytes(&self) -> u32 {
        u32::try_from(self.queue_bytes.div_ceil(KIB)).unwrap_or(u32::MAX).min(MOST_KIB)
    }
}

/// The reason why a request has no classification.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ClassifyError {
    /// The image is at fault, for ever.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The queue is full at this moment.
    #[error("the queue is full: {limit} images, or {bytes} bytes of them, are waiting")]
    Full {
        /// The places there are.
        limit: usize,
        /// The bytes that they may have together.
        bytes: usize,
    },
    /// The batcher accepts no further requests.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The model is at fault, not the image.
    #[error("{0}")]
    Model(Arc<Error>),
}

/// A place in the queue for one image, which is free again when this is dropped.
#[derive(Debug)]
pub struct Permit {
    _place: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// The unit that the bytes of the queue are counted in, so that the numbers stay below a semaphore's limit.
const KIB: usize = 1024;
/// The most of these units: a tebibyte.
const MOST_KIB: u32 = 1 << 30;

/// The threads that decode and classify.
#[derive(Debug)]
pub struct Batcher {
    /// One for each model; at least one.
    handles: Vec<Handle>,
    decoding: Arc<Decoding>,
    threads: Vec<JoinHandle<()>>,
}

/// What the models have in common: the images that are not decoded yet, each with the model that it is for.
#[derive(Debug)]
struct Decoding {
    encoded: Queue<(Arc<Shared>, Job<Encoded>)>,
    /// Decode threads still running; the last one closes the `ready` of all models.
    running: AtomicUsize,
}

/// A handle for callers of one model. Clones are cheap.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    info: ModelInfo,
    options: Options,
    decoder: Decoder,
    stats: Arc<Stats>,
    places: Arc<Semaphore>,
    /// In units of [`KIB`]; the same for all models.
    bytes: Arc<Semaphore>,
    decoding: Arc<Decoding>,
    ready: Queue<Job<Vec<u8>>>,
    /// The message of the model's panic.
    failure: OnceLock<String>,
    failed: CancellationToken,
}

#[derive(Debug)]
struct Encoded {
    encoding: Encoding,
    data: Bytes,
}

#[derive(Debug)]
struct Job<T> {
    image: T,
    reply: oneshot::Sender<Result<Classification, ClassifyError>>,
    permit: Permit,
}

impl<T> Job<T> {
    /// Frees the place before the caller learns that it may send another.
    fn answer(self, answer: Result<Classification, ClassifyError>) {
        drop(self.permit);
        // The caller may have gone; then nobody is told.
        let _ = self.reply.send(answer);
    }
}

/// One model, once for each of its threads.
type Alike = Vec<Box<dyn Model>>;

impl Batcher {
    /// Starts one thread for each of `models` (at least one; all alike) and the decode threads.
    ///
    /// # Errors
    /// [`Error::Setting`] for a number that is 0, [`Error::Thread`].
    pub fn start(models: Vec<Box<dyn Model>>, options: Options, stats: Arc<Stats>) -> Result<Self> {
        Self::start_all(vec![(models, stats)], options)
    }

    /// Starts several models with their counters, each as [`Batcher::start`] does one, and the decode threads for all of them.
    ///
    /// # Errors
    /// As [`Batcher::start`].
    pub fn start_all(all: Vec<(Alike, Arc<Stats>)>, options: Options) -> Result<Self> {
        let Options { max_batch, queue, decode_threads, queue_bytes, max_image_bytes, max_image_pixels } =
            options;
        for (setting, value) in [
            ("max_batch", max_batch),
            ("queue", queue),
            ("decode_threads", decode_threads),
            ("queue_bytes", queue_bytes),
            ("max_image_bytes", max_image_bytes),
            ("max_image_pixels", max_image_pixels as usize),
        ] {
            if value == 0 {
                return Err(Error::Setting { setting, value: "0".to_owned(), expected: "at least 1" });
            }
        }
        let no_model =
            || Error::Setting { setting: "threads", value: "0".to_owned(), expected: "at least 1" };
        let decoding =
            Arc::new(Decoding { encoded: Queue::new(), running: AtomicUsize::new(decode_threads) });
        let bytes = Arc::new(Semaphore::new(options.kibibytes() as usize));
        let (mut handles, mut threads) = (Vec::with_capacity(all.len()), Vec::new());
        for (models, stats) in all {
            let info = models.first().ok_or_else(no_model)?.info().clone();
            let shared = Arc::new(Shared {
                decoder: Decoder::to(&info, options.limits())?,
                info,
                options,
                stats,
                places: Arc::new(Semaphore::new(queue.min(Semaphore::MAX_PERMITS))),
                bytes: Arc::clone(&bytes),
                decoding: Arc::clone(&decoding),
                ready: Queue::new(),
                failure: OnceLock::new(),
                failed: CancellationToken::new(),
            });
            threads.extend(models.into_iter().map(|model| (Arc::clone(&shared), model)));
            handles.push(Handle { shared });
        }
        if handles.is_empty() {
            return Err(no_model());
        }
        // Built first: if a thread cannot be started, dropping this ends those that were.
        let mut batcher = Self { handles, decoding, threads: Vec::new() };
        for index in 0..decode_threads {
            let (decoding, handles) = (Arc::clone(&batcher.decoding), batcher.handles.clone());
            batcher.spawn(format!("decode-{index}"), move || decoding.run(&handles))?;
        }
        for (index, (shared, model)) in threads.into_iter().enumerate() {
            batcher.spawn(format!("model-{index}"), move || shared.infer(model))?;
        }
        Ok(batcher)
    }

    fn spawn(&mut self, name: String, work: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = std::thread::Builder::new().name(name).spawn(work);
        self.threads.push(thread.map_err(|source| Error::Thread { source })?);
        Ok(())
    }

    /// A handle for callers of the first model.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handles[0].clone()
    }

    /// A handle for the callers of each model, in their order.
    #[must_use]
    pub fn handles(&self) -> &[Handle] {
        &self.handles
    }

    /// Ends when a model has panicked; then nothing will be answered any more.
    pub async fn failed(&self) -> Error {
        let failures = self.handles.iter().map(|handle| Box::pin(handle.failed()));
        futures::future::select_all(failures).await.0
    }

    /// Accepts no further requests, answers those that were accepted, and ends the threads.
    pub async fn shutdown(mut self) {
        self.close();
        let threads = std::mem::take(&mut self.threads);
        let join = move || threads.into_iter().for_each(|thread| drop(thread.join()));
        if tokio::task::spawn_blocking(join).await.is_err() {
            tracing::warn!("the inference threads could not be joined");
        }
    }

    fn close(&self) {
        for Handle { shared } in &self.handles {
            shared.places.close();
            shared.bytes.close();
        }
        self.decoding.encoded.close();
    }
}

impl Drop for Batcher {
    /// Without [`Batcher::shutdown`] the threads still end, by themselves, once what was accepted is answered.
    fn drop(&mut self) {
        self.close();
    }
}

impl Handle {
    /// The model's description.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        &self.shared.info
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> &Arc<Stats> {
        &self.shared.stats
    }

    /// The options that the batcher was started with.
    #[must_use]
    pub fn options(&self) -> Options {
        self.shared.options
    }

    /// A place in the queue for an image of so many bytes; waits until there is one.
    ///
    /// # Errors
    /// [`ClassifyError::Rejected`] for more bytes than an image may have, [`ClassifyError::ShuttingDown`], or what the model
    /// failed with.
    pub async fn acquire(&self, bytes: usize) -> Result<Permit, ClassifyError> {
        let (shared, units) = (&self.shared, self.units(bytes)?);
        let place = Arc::clone(&shared.places).acquire_owned().await.map_err(|_| self.closed())?;
        let bytes = Arc::clone(&shared.bytes).acquire_many_owned(units).await.map_err(|_| self.closed())?;
        Ok(Permit { _place: place, _bytes: bytes })
    }

    /// A place in the queue for an image of so many bytes, if there is one now.
    ///
    /// # Errors
    /// [`ClassifyError::Full`], or as [`Handle::acquire`].
    pub fn try_acquire(&self, bytes: usize) -> Result<Permit, ClassifyError> {
        let (shared, units) = (&self.shared, self.units(bytes)?);
        let refused = |error| match error {
            TryAcquireError::NoPermits => {
                shared.stats.refused.inc();
                let Options { queue, queue_bytes, .. } = shared.options;
                ClassifyError::Full { limit: queue, bytes: queue_bytes }
            }
            TryAcquireError::Closed => self.closed(),
        };
        let place = Arc::clone(&shared.places).try_acquire_owned().map_err(refused)?;
        let bytes = Arc::clone(&shared.bytes).try_acquire_many_owned(units).map_err(refused)?;
        Ok(Permit { _place: place, _bytes: bytes })
    }

    /// The units of an image. One that is larger than the whole queue takes all of it.
    fn units(&self, bytes: usize) -> Result<u32, ClassifyError> {
        let options = &self.shared.options;
        if bytes > options.max_image_bytes {
            self.shared.stats.rejected.inc();
            let limit = options.max_image_bytes;
            return Err(ClassifyError::Rejected(Rejection::TooLarge { bytes, limit }));
        }
        // It is first its file and then its pixels.
        let bytes = bytes.max(self.shared.info.image_len());
        Ok(u32::try_from(bytes.div_ceil(KIB)).unwrap_or(u32::MAX).min(options.kibibytes()))
    }

    /// Classifies one image; waits for a place first.
    ///
    /// # Errors
    /// The image's [`Rejection`], the model's failure, or shutting down.
    pub async fn classify(&self, encoding: Encoding, data: Bytes) -> Result<Classification, ClassifyError> {
        self.classify_with(self.acquire(data.len()).await?, encoding, data).await
    }

    /// Classifies one image that has its place already.
    ///
    /// # Errors
    /// As [`Handle::classify`].
    pub async fn classify_with(
        &self,
        permit: Permit,
        encoding: Encoding,
        data: Bytes,
    ) -> Result<Classification, ClassifyError> {
        let (reply, answer) = oneshot::channel();
        let job = Job { image: Encoded { encoding, data }, reply, permit };
        self.shared.stats.queued.inc();
        if self.shared.decoding.encoded.push((Arc::clone(&self.shared), job)).is_err() {
            self.shared.stats.queued.dec();
            return Err(self.closed());
        }
        answer.await.unwrap_or_else(|_| Err(self.closed()))
    }

    /// Ends when the model has panicked; then nothing will be answered any more.
    pub async fn failed(&self) -> Error {
        self.shared.failed.cancelled().await;
        self.shared.panicked()
    }

    fn closed(&self) -> ClassifyError {
        match self.shared.failure.get() {
            Some(_) => ClassifyError::Model(Arc::new(self.shared.panicked())),
            None => ClassifyError::ShuttingDown,
        }
    }
}

impl Decoding {
    /// The loop of a decode thread, for all models.
    fn run(&self, models: &[Handle]) {
        let mut taken = Vec::with_capacity(1);
        while self.encoded.take(1, &mut taken) {
            for (shared, job) in taken.drain(..) {
                shared.decode(job);
            }
        }
        if self.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            models.iter().for_each(|model| model.shared.ready.close());
        }
    }
}

impl Shared {
    fn decode(&self, job: Job<Encoded>) {
        let Job { image: Encoded { encoding, data }, reply, permit } = job;
        match self.decoder.decode(encoding, &data) {
            Ok(image) => {
                self.stats.ready.fetch_add(1, Ordering::Relaxed);
                if let Err(job) = self.ready.push(Job { image, reply, permit }) {
                    self.stats.ready.fetch_sub(1, Ordering::Relaxed);
                    self.stats.queued.dec();
                    drop(job);
                }
            }
            Err(rejection) => {
                self.stats.queued.dec();
                self.stats.rejected.inc();
                Job { image: (), reply, permit }.answer(Err(rejection.into()));
            }
        }
    }

    /// The loop of a model thread.
    fn infer(&self, mut model: Box<dyn Model>) {
        let (mut batch, mut pixels) = (Vec::new(), Vec::new());
        while self.ready.take(self.options.max_batch, &mut batch) {
            self.stats.taken(batch.len());
            // Whoever has gone meanwhile needs no answer.
            batch.retain(|job| !job.reply.is_closed());
            if batch.is_empty() {
                continue;
            }
            pixels.clear();
            batch.iter().for_each(|job| pixels.extend_from_slice(&job.image));
            let start = Instant::now();
            let run = catch_unwind(AssertUnwindSafe(|| classify(model.as_mut(), &pixels, batch.len())));
            let took = start.elapsed();
            self.stats.computed(took);
            match run {
                Ok(Ok(answers)) => {
                    self.stats.answered(batch.len(), took);
                    for (job, answer) in batch.drain(..).zip(answers) {
                        job.answer(Ok(answer));
                    }
                }
                Ok(Err(error)) => {
                    tracing::error!(%error, images = batch.len(), "the model failed on a batch");
                    self.fail(&mut batch, &Arc::new(error));
                }
                Err(panic) => {
                    let message = message(panic.as_ref());
                    tracing::error!(%message, images = batch.len(), "the model panicked");
                    self.failure.get_or_init(|| message);
                    self.places.close();
                    self.bytes.close();
                    self.decoding.encoded.abandon();
                    self.ready.abandon();
                    self.failed.cancel();
                    self.fail(&mut batch, &Arc::new(self.panicked()));
                    return;
                }
            }
        }
    }

    fn panicked(&self) -> Error {
        let message = self.failure.get().cloned().unwrap_or_default();
        Error::Panicked { model: self.info.name.clone(), message }
    }

    fn fail(&self, batch: &mut Vec<Job<Vec<u8>>>, error: &Arc<Error>) {
        self.stats.failed.inc_by(batch.len() as u64);
        for job in batch.drain(..) {
            job.answer(Err(ClassifyError::Model(Arc::clone(error))));
        }
    }
}

/// The message of a panic, where it has one.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
