//! The ids of images that arrive over HTTP.
//!
//! Without a key an image gets the next number of a producer whose id is random and belongs to this process, so that no two images
//! ever meet. With a key the id says who sent which key where, and nothing else:
//!
//! ```text
//!  producer = the first 128 bits of SHA-256("firesteel ingest producer", topic, user)
//!  sequence = the first  63 bits of SHA-256("firesteel ingest image", producer, key, place in the request)
//! ```
//!
//! Each text stands behind its length in 8 bytes, little-endian. So all processes, before and after a restart, give the same key
//! the same id, and MongoDB has one document of it. 63 bits are what a document's `sequence` holds: of *n* keys of one user two
//! meet with a probability of about n² / 2⁶⁴, which is 1 in 18 million for a million keys.

use firesteel_proto::{ImageId, ProducerId, Sequence};
use sha2::{Digest as _, Sha256};
use std::sync::atomic::{AtomicU64, Ordering};

/// Gives images their ids.
#[derive(Debug)]
pub(super) struct Ids {
    topic: String,
    own: ProducerId,
    next: AtomicU64,
}

impl Ids {
    pub(super) fn new(topic: &str) -> Self {
        Self { topic: topic.to_owned(), own: ProducerId(rand::random()), next: AtomicU64::new(0) }
    }

    /// Ids that nothing else ever has.
    pub(super) fn fresh(&self, count: usize) -> Vec<ImageId> {
        let first = self.next.fetch_add(count as u64, Ordering::Relaxed);
        let id = |place| ImageId { producer: self.own, sequence: Sequence(first + place) };
        (0..count as u64).map(id).collect()
    }

    /// The ids of the images of a request with this key, in their order.
    pub(super) fn of_key(&self, user: &str, key: &str, count: usize) -> Vec<ImageId> {
        let digest = digest("firesteel ingest producer", &[self.topic.as_bytes(), user.as_bytes()]);
        let producer = ProducerId(u128::from_be_bytes(first(&digest)));
        let id = |place: u64| {
            let parts = [&producer.0.to_be_bytes()[..], key.as_bytes(), &place.to_be_bytes()];
            let number = u64::from_be_bytes(first(&self::digest("firesteel ingest image", &parts)));
            // Documents hold numbers with a sign.
            ImageId { producer, sequence: Sequence(number >> 1) }
        };
        (0..count as u64).map(id).collect()
    }
}

/// A digest of texts that no other texts have, wherever one ends and the next begins.
pub(super) fn digest(purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in [purpose.as_bytes()].iter().chain(parts) {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

fn first<const N: usize>(digest: &[u8; 32]) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.iter_mut().zip(digest).for_each(|(to, from)| *to = *from);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// What was given out once is given out for ever: a repeat after an upgrade is the same document.
    #[test]
    fn a_key_has_the_ids_that_it_always_had() {
        let ids = Ids::new("images")
            .of_key("ada", "order-4711", 2)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>();
        assert_eq!(
            ids,
            [
                "d82c8943fa9b24b198a1de8733a8dd3f:4772126311284412320",
                "d82c8943fa9b24b198a1de8733a8dd3f:8980259558111698920"
            ]
        );
    }

    #[test]
    fn fresh_ids_are_different_also_from_those_of_another_process() {
        let (one, other) = (Ids::new("images"), Ids::new("images"));
        let all = [one.fresh(3), one.fresh(1), other.fresh(4), one.of_key("", "k", 2)].concat();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 10);
    }

    proptest! {
        #[test]
        fn user_topic_key_and_place_decide(
            a in ("[a-c]{0,2}", "[a-c]{0,2}", "[a-c]{1,2}"), b in ("[a-c]{0,2}", "[a-c]{0,2}", "[a-c]{1,2}"),
        ) {
            let of = |(topic, user, key): &(String, String, String)| Ids::new(topic).of_key(user, key, 3);
            prop_assert_eq!(of(&a) == of(&b), a == b);
            prop_assert_eq!(of(&a), of(&a));
            let different: BTreeSet<ImageId> = of(&a).into_iter().chain(of(&b)).collect();
            prop_assert_eq!(different.len(), if a == b { 3 } else { 6 });
            prop_assert!(different.iter().all(|id| i64::try_from(id.sequence.0).is_ok()));
            // The text of an id is read back: it is not taken for one of the short ones.
            prop_assert!(different.iter().all(|id| id.to_string().parse() == Ok(*id)));
        }
    }
}
