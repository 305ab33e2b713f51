//! What the messages of gRPC that have not arrived as a whole may take of the process's memory.
//!
//! A service sees a message when its last byte is there, so until then the bytes wait in memory. Each message has a limit of its
//! own, but a peer may begin hundreds of them on every connection. Their bytes are counted over all connections of a server, and
//! whoever would go over the limit gets `RESOURCE_EXHAUSTED`. A message that has begun has to go on, too: it ends the call when
//! nothing of it arrives for a while.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;
use tonic::Status;

/// What precedes each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// The bytes of all messages of a server that are incomplete.
#[derive(Debug)]
pub(super) struct Incomplete {
    bytes: AtomicUsize,
    most: usize,
    timeout: Duration,
}

impl Incomplete {
    pub(super) fn new(most: usize, timeout: Duration) -> Self {
        Self { bytes: AtomicUsize::new(0), most, timeout }
    }

    /// Counts the messages in the body of a call.
    pub(super) fn watch(self: &Arc<Self>, body: Body) -> Body {
        Body::new(Watched {
            body,
            all: Arc::clone(self),
            counted: 0,
            message: Message::default(),
            deadline: None,
        })
    }

    /// Changes what one body has counted. `None` when all together would be over the limit.
    fn change(&self, from: usize, to: usize) -> Option<()> {
        if to <= from {
            self.bytes.fetch_sub(from - to, Ordering::Relaxed);
            return Some(());
        }
        let add = |bytes: usize| bytes.checked_add(to - from).filter(|sum| *sum <= self.most);
        self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok().map(drop)
    }
}

/// Where a body is in its current message.
#[derive(Debug, Default)]
struct Message {
    /// What has arrived of it, its prefix among it.
    arrived: usize,
    /// The bytes of the prefix that hold the length.
    length: [u8; 4],
}

impl Message {
    /// Goes on behind `bytes`.
    fn advance(&mut self, mut bytes: &[u8]) {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.arrived < PREFIX {
                if let Some(place) = self.arrived.checked_sub(1).and_then(|place| self.length.get_mut(place))
                {
                    *place = first;
                }
                self.arrived += 1;
                bytes = rest;
            } else {
                let taken = self.missing().min(bytes.len());
                self.arrived += taken;
                bytes = bytes.get(taken..).unwrap_or_default();
            }
            if self.arrived >= PREFIX && self.missing() == 0 {
                *self = Self::default();
            }
        }
    }

    /// What has not arrived, once the length is known.
    fn missing(&self) -> usize {
        let length = usize::try_from(u32::from_be_bytes(self.length)).unwrap_or(usize::MAX);
        length.saturating_add(PREFIX).saturating_sub(self.arrived)
    }
}

struct Watched {
    body: Body,
    all: Arc<Incomplete>,
    counted: usize,
    message: Message,
    /// Set while a message has begun and nothing arrives.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Watched {
    fn count(&mut self, bytes: &[u8]) -> Result<(), axum::Error> {
        self.message.advance(bytes);
        let now = self.message.arrived;
        self.all.change(self.counted, now).ok_or_else(|| {
            axum::Error::new(Status::resource_exhausted(format!(
                "messages that have not arrived as a whole hold {} MiB, which is the limit: try again",
                self.all.most >> 20
            )))
        })?;
        self.counted = now;
        Ok(())
    }

    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<axum::Error> {
        if self.message.arrived == 0 {
            return Poll::Pending;
        }
        let timeout = self.all.timeout;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        deadline.as_mut().poll(context).map(|()| {
            axum::Error::new(Status::deadline_exceeded(format!(
                "nothing of a message that has begun arrived for {} s",
                timeout.as_secs_f32()
            )))
        })
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending => self.poll_deadline(context).map(|error| Some(Err(error))),
            Poll::Ready(Some(Ok(frame))) => {
                self.deadline = None;
                let counted = frame.data_ref().map_or(Ok(()), |bytes| self.count(bytes));
                Poll::Ready(Some(counted.map(|()| frame)))
            }
            ended => ended,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Never fails: less is always below the limit.
        let _ = self.all.change(self.counted, 0);
    }
}

#[cfg(test)]
mod tests {
    use futures::channel::mpsc::{UnboundedSender, unbounded};
    use futures::{StreamExt as _, stream};

    use super::*;

    type Sender = UnboundedSender<Result<Bytes, std::io::Error>>;

    fn body(all: &Arc<Incomplete>) -> (Sender, axum::body::BodyDataStream) {
        let (sender, receiver) = unbounded();
        (sender, all.watch(Body::from_stream(receiver)).into_data_stream())
    }

    fn message(length: u32, sent: usize) -> Bytes {
        let mut bytes = vec![0];
        bytes.extend(length.to_be_bytes());
        bytes.resize(PREFIX + sent, 7);
        Bytes::from(bytes)
    }

    fn held(all: &Incomplete) -> usize {
        all.bytes.load(Ordering::Relaxed)
    }

    #[test]
    fn a_message_ends_where_its_length_says_however_it_is_cut() {
        let whole = [message(0, 0), message(1, 1), message(300, 300), message(7, 7)].concat();
        for size in [1, 2, 3, 5, 6, 64, whole.len()] {
            let mut position = Message::default();
            let (mut sum, mut ends) = (0, 0);
            for part in whole.chunks(size) {
                position.advance(part);
                sum += part.len();
                ends += usize::from(position.arrived == 0);
                assert!(position.arrived <= sum);
            }
            assert_eq!(position.arrived, 0, "{size}");
            assert!(ends >= 1);
        }
        let mut position = Message::default();
        position.advance(&message(u32::MAX, 10));
        assert_eq!(position.arrived, PREFIX + 10);
    }

    #[tokio::test]
    async fn what_has_begun_is_counted_over_all_and_given_back() {
        let all = Arc::new(Incomplete::new(1000, Duration::from_secs(60)));
        let (first, mut reading_first) = body(&all);
        let (second, mut reading_second) = body(&all);
        first.unbounded_send(Ok(message(5000, 595))).expect("open");
        reading_first.next().await.expect("a frame").expect("within the limit");
        assert_eq!(held(&all), 600);
        // A message that is complete holds nothing, however full it is.
        second.unbounded_send(Ok(message(5000, 5000))).expect("open");
        reading_second.next().await.expect("a frame").expect("complete");
        assert_eq!(held(&all), 600);
        second.unbounded_send(Ok(message(5000, 600))).expect("open");
        let error = reading_second.next().await.expect("a frame").expect_err("over the limit");
        let status = Status::from_error(Box::new(error));
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        drop(reading_first);
        drop(reading_second);
        assert_eq!(held(&all), 0);
    }

    #[tokio::test]
    async fn a_message_that_does_not_go_on_ends_the_call_and_a_stream_between_messages_does_not() {
        let all = Arc::new(Incomplete::new(1000, Duration::from_millis(100)));
        let (sender, mut reading) = body(&all);
        sender.unbounded_send(Ok(message(3, 3))).expect("open");
        reading.next().await.expect("a frame").expect("complete");
        // Nothing has begun, so nobody is waited for.
        tokio::time::timeout(Duration::from_millis(500), reading.next()).await.expect_err("it stays open");
        sender.unbounded_send(Ok(Bytes::from_static(&[0]))).expect("open");
        reading.next().await.expect("a frame").expect("the first byte");
        let error = reading.next().await.expect("a frame").expect_err("it took too long");
        assert_eq!(Status::from_error(Box::new(error)).code(), tonic::Code::DeadlineExceeded);
        let empty = all.watch(Body::from_stream(stream::empty::<Result<Bytes, std::io::Error>>()));
        assert_eq!(empty.into_data_stream().count().await, 0);
    }
}
