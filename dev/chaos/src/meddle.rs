//! Records that nobody should have sent: one in ten once more, one in a hundred poison. Which ones is decided by the seed and the
//! place of the record that they follow.
//!
//! A record of the harness bears a header that says what it is, so that the oracle knows what has to become of it.

use crate::topic::{Place, Record};
use anyhow::Context as _;
use bytes::Bytes;
use firesteel_pipeline::kafka::{Message, Publisher};
use firesteel_proto::ImageRecord;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rdkafka::message::{Header, OwnedHeaders};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc::UnboundedReceiver;

/// The header of every record of the harness.
pub(crate) const HEADER: &str = "chaos";
const DUPLICATE: &str = "duplicate";
/// Of this producer there is poison alone.
pub(crate) const POISONER: &str = "c4a05000";
const DUPLICATES: f64 = 0.10;
const POISON: f64 = 0.01;

/// More bytes than the fleet's consumers take for an image: see [`MAX_IMAGE_SIZE`].
const OVERSIZE: usize = (1 << 20) + 1;
/// The setting of the fleet's consumers, below what its brokers take for a record.
pub(crate) const MAX_IMAGE_SIZE: &str = "1MiB";

/// A PNG file whose header claims 65,535 x 65,535 pixels, with nothing behind it.
const BOMB: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\xff\xff\0\0\xff\xff\x08\x02\0\0\0\0\0\0\0\
    \0\0\0\0IDAT\x35\xaf\x06\x1e\0\0\0\0IEND\xae\x42\x60\x82";

/// A record that can never succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Poison {
    Truncated,
    Bomb,
    BadLabel,
    Null,
    Oversize,
    Garbage,
    WrongTime,
}

impl Poison {
    const IMAGES: [Self; 7] = [
        Self::Truncated,
        Self::Bomb,
        Self::BadLabel,
        Self::Null,
        Self::Oversize,
        Self::Garbage,
        Self::WrongTime,
    ];
    const PREDICTIONS: [Self; 2] = [Self::Null, Self::Garbage];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Bomb => "bomb",
            Self::BadLabel => "bad-label",
            Self::Null => "null",
            Self::Oversize => "oversize",
            Self::Garbage => "garbage",
            Self::WrongTime => "wrong-time",
        }
    }

    /// The `error.class` of its dead letter.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Truncated | Self::Bomb => "rejected-image",
            Self::BadLabel => "bad-label",
            Self::Null => "empty-record",
            Self::Oversize => "oversize-image",
            Self::Garbage => "malformed",
            Self::WrongTime => "bad-time",
        }
    }

    /// The poison that a record of the harness is.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        let name = record.header(HEADER)?;
        Self::IMAGES.into_iter().find(|poison| poison.name() == name)
    }

    /// Its value, made of the JPEG file of a good image; `sequence` counts the poison.
    fn value(self, sequence: u64, jpeg: &[u8]) -> Option<Vec<u8>> {
        const JPEG: u64 = 1;
        const PNG: u64 = 2;
        let image =
            |label: &str, encoding, seconds, data: &[u8]| wire(sequence, label, encoding, seconds, data);
        let (now, half) = (1_760_000_000, &jpeg[..jpeg.len() / 2]);
        match self {
            Self::Truncated => Some(image("cat", JPEG, now, half)),
            Self::Bomb => Some(image("cat", PNG, now, BOMB)),
            // Longer than any label.
            Self::BadLabel => Some(image(&"unicorn".repeat(43), JPEG, now, jpeg)),
            Self::Null => None,
            Self::Oversize => Some(image("cat", JPEG, now, &vec![7; OVERSIZE])),
            Self::Garbage => Some(vec![0xff; 40]),
            // The year 292277026596.
            Self::WrongTime => Some(image("cat", JPEG, i64::MAX.unsigned_abs(), jpeg)),
        }
    }
}

/// An `ImageRecord` of the contract, as protobuf, with fields that its own type would refuse.
fn wire(sequence: u64, label: &str, encoding: u64, seconds: u64, data: &[u8]) -> Vec<u8> {
    let mut time = Vec::new();
    number(&mut time, 1, seconds);
    let mut record = Vec::with_capacity(data.len() + 64);
    bytes(&mut record, 1, POISONER.as_bytes());
    number(&mut record, 2, sequence);
    bytes(&mut record, 3, &time);
    bytes(&mut record, 4, label.as_bytes());
    number(&mut record, 5, encoding);
    bytes(&mut record, 6, data);
    record
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn number(to: &mut Vec<u8>, field: u64, value: u64) {
    varint(to, field << 3);
    varint(to, value);
}

fn bytes(to: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(to, field << 3 | 2);
    varint(to, value.len() as u64);
    to.extend_from_slice(value);
}

/// Whether the record at `place` is sent once more, and whether poison follows it.
pub(crate) fn decide(seed: u64, topic: u64, (partition, offset): Place) -> (bool, bool) {
    let place = (i64::from(partition) << 40 | offset).unsigned_abs();
    let mut random = StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ topic << 60 ^ place);
    (random.random_bool(DUPLICATES), random.random_bool(POISON))
}

/// What was sent.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) duplicates: AtomicU64,
    pub(crate) poison: AtomicU64,
    /// Sends whose outcome the harness does not know; the topic tells.
    pub(crate) unknown: AtomicU64,
}

/// Which topic is meddled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meddled {
    Images,
    Predictions,
}

/// Follows the records of a topic until the channel closes.
pub(crate) async fn meddle(
    seed: u64,
    what: Meddled,
    topic: String,
    publisher: Publisher,
    mut news: UnboundedReceiver<(Place, Record)>,
    sent: Arc<Sent>,
) -> anyhow::Result<()> {
    let mut poisoned = 0_usize;
    while let Some((place, record)) = news.recv().await {
        if record.header(HEADER).is_some() {
            continue;
        }
        let (again, poison) = decide(seed, u64::from(what == Meddled::Images), place);
        if again {
            send_again(&publisher, &topic, &record, &sent).await;
        }
        if poison {
            let kinds: &[Poison] =
                if what == Meddled::Images { &Poison::IMAGES } else { &Poison::PREDICTIONS };
            let kind = kinds.get(poisoned % kinds.len()).context("a kind of poison")?;
            let image = record.value.as_deref().and_then(|value| ImageRecord::decode(value).ok());
            let jpeg = image.map_or_else(Bytes::new, |image| image.data);
            let value = kind.value(poisoned as u64, &jpeg);
            poisoned += 1;
            let key = POISONER.as_bytes();
            send(&publisher, &topic, Some(key), value.as_deref(), kind.name(), &sent, &sent.poison).await;
        }
    }
    Ok(())
}

/// Sends a record that is there once more.
pub(crate) async fn send_again(publisher: &Publisher, topic: &str, record: &Record, sent: &Sent) {
    let (key, value) = (record.key.as_deref(), record.value.as_deref());
    let what = Poison::of(record).map_or(DUPLICATE, Poison::name);
    send(publisher, topic, key, value, what, sent, &sent.duplicates).await;
}

async fn send(
    publisher: &Publisher,
    topic: &str,
    key: Option<&[u8]>,
    payload: Option<&[u8]>,
    what: &str,
    sent: &Sent,
    count: &AtomicU64,
) {
    let headers = OwnedHeaders::new().insert(Header { key: HEADER, value: Some(what) });
    match publisher.publish(Message { topic, key, payload, headers: Some(headers) }).await {
        Ok(_) => count.fetch_add(1, Ordering::Relaxed),
        Err(_) => sent.unknown.fetch_add(1, Ordering::Relaxed),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poison_that_the_contract_refuses_has_its_class() {
        let jpeg = [1, 2, 3, 4];
        for poison in [Poison::BadLabel, Poison::Garbage, Poison::WrongTime] {
            let value = poison.value(3, &jpeg).expect("bytes");
            assert_eq!(ImageRecord::decode(&value[..]).expect_err("refused").class(), poison.class());
        }
        // Those that only the model or the consumer's limit refuses are records of the contract.
        for poison in [Poison::Truncated, Poison::Bomb, Poison::Oversize] {
            let record = ImageRecord::decode(&poison.value(3, &jpeg).expect("bytes")[..]).expect("a record");
            assert_eq!(record.id.to_string(), format!("{POISONER}:3"));
        }
        assert_eq!(Poison::Null.value(1, &jpeg), None);
    }

    #[test]
    fn about_a_tenth_comes_twice_and_a_hundredth_is_poison() {
        let all = 20_000;
        let chosen = (0..all).map(|offset| decide(4, 1, (2, offset)));
        let (again, poison) =
            chosen.fold((0, 0), |(again, poison), (a, p)| (again + i32::from(a), poison + i32::from(p)));
        assert!((1_800..2_200).contains(&again) && (140..260).contains(&poison), "{again} {poison}");
        assert_eq!(decide(4, 1, (2, 9)), decide(4, 1, (2, 9)));
    }
}
