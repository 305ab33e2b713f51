//! The last answers to images, by a hash of their bytes.

use lru::LruCache;
use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An answer that is remembered.
pub(super) trait Remember: Clone {
    /// Bytes that it has elsewhere than in itself.
    fn elsewhere(&self) -> usize;
}

impl Remember for super::Classification {
    fn elsewhere(&self) -> usize {
        0
    }
}

impl Remember for Arc<[f32]> {
    fn elsewhere(&self) -> usize {
        size_of_val::<[f32]>(self) + 2 * size_of::<usize>()
    }
}

/// The hash of images: 128 bits of SipHash with keys of this process' own, so that nobody can make up two images of one hash.
#[derive(Default)]
pub(super) struct Hashes([RandomState; 2]);

impl Hashes {
    pub(super) fn key(&self, image: &[u8]) -> u128 {
        let [high, low] = self.0.each_ref().map(|hash| u128::from(hash.hash_one(image)));
        high << 64 | low
    }
}

/// The last answers of one kind, as many as there is room for.
pub(super) struct Remembered<T> {
    /// Bytes that they may take.
    most: usize,
    answers: Mutex<Answers<T>>,
}

struct Answers<T> {
    last: LruCache<u128, T>,
    /// Bytes that the answers have elsewhere.
    elsewhere: usize,
}

impl<T: Remember> Remembered<T> {
    /// At most `count` answers, for which the map is made at once.
    pub(super) fn counted(count: NonZeroUsize) -> Self {
        Self::of(LruCache::new(count), usize::MAX)
    }

    /// As many answers as fit into `most` bytes; one that does not is not kept.
    pub(super) fn bounded(most: usize) -> Self {
        Self::of(LruCache::unbounded(), most)
    }

    fn of(last: LruCache<u128, T>, most: usize) -> Self {
        Self { most, answers: Mutex::new(Answers { last, elsewhere: 0 }) }
    }

    /// The answers that are there, in the order of `keys`.
    pub(super) fn find(&self, keys: &[u128]) -> Vec<Option<T>> {
        let mut answers = self.lock();
        keys.iter().map(|key| answers.last.get(key).cloned()).collect()
    }

    pub(super) fn put(&self, said: impl Iterator<Item = (u128, T)>) {
        let mut answers = self.lock();
        // One that alone is too large would drive out all others.
        for (key, answer) in said.filter(|(_, answer)| answer.elsewhere() < self.most) {
            answers.elsewhere += answer.elsewhere();
            // What had the key, or was the oldest of as many as there may be.
            if let Some((_, gone)) = answers.last.push(key, answer) {
                answers.elsewhere -= gone.elsewhere();
            }
            while answers.bytes() > self.most {
                let Some((_, gone)) = answers.last.pop_lru() else { break };
                answers.elsewhere -= gone.elsewhere();
            }
        }
    }

    /// About how many bytes that takes.
    pub(super) fn bytes(&self) -> usize {
        self.lock().bytes()
    }

    fn lock(&self) -> MutexGuard<'_, Answers<T>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Answers<T> {
    /// The map, which is made at once where their number is limited, an entry with its links for each, and what is elsewhere.
    fn bytes(&self) -> usize {
        let cap = self.last.cap().get();
        let made = if cap == usize::MAX { self.last.len() } else { cap };
        let places = (made * 8 / 7).next_power_of_two();
        places * (2 * size_of::<usize>() + 1)
            + self.last.len() * (size_of::<(u128, T)>() + 4 * size_of::<usize>())
            + self.elsewhere
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::Classification;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_oldest_answers_are_forgotten() {
        let remembered = Remembered::counted(NonZeroUsize::new(2).unwrap());
        let answer = |class| Classification { class, confidence: 1.0 };
        remembered.put((0..3_u8).map(|key| (u128::from(key), answer(usize::from(key)))));
        let found: Vec<_> = remembered.find(&[0, 1, 2]).into_iter().map(|a| a.map(|a| a.class)).collect();
        assert_eq!(found, [None, Some(1), Some(2)]);
    }

    #[test]
    fn images_of_other_bytes_have_other_keys() {
        let hashes = Hashes::default();
        let keys = [b"a".as_slice(), b"a", b"b"].map(|image| hashes.key(image));
        assert!(keys[0] == keys[1] && keys[0] != keys[2]);
    }

    #[test]
    fn wide_answers_stay_within_their_bytes() {
        const MOST: usize = 1 << 20;
        let remembered = Remembered::bounded(MOST);
        assert!(remembered.bytes() < 100, "nothing is taken before there is an answer");
        let row = |key: u128| (key, Arc::<[f32]>::from(vec![key as f32; 512]));
        remembered.put((0..2_000).map(row));
        assert!(remembered.bytes() <= MOST && remembered.bytes() > MOST / 2, "{}", remembered.bytes());
        let found = remembered.find(&(0..2_000).collect::<Vec<_>>());
        let kept = found.iter().flatten().count();
        assert!((300..500).contains(&kept), "{kept}");
        assert!(found[2_000 - kept..].iter().all(Option::is_some), "the last ones");
        remembered.put(std::iter::once((2_000, Arc::from(vec![0.0; MOST]))));
        let found = remembered.find(&[1_999, 2_000]);
        assert!(
            found[0].is_some() && found[1].is_none(),
            "one that is too large is not kept, and drives out nothing"
        );
    }

    proptest! {
        #[test]
        fn bytes_elsewhere_are_those_of_what_is_kept(
            rows in proptest::collection::vec((0_u128..20, 0_usize..300), 0..60),
            most in 0_usize..5_000,
        ) {
            let remembered = Remembered::bounded(most);
            for (key, width) in rows {
                remembered.put(std::iter::once((key, Arc::from(vec![0.0_f32; width]))));
                let answers = remembered.lock();
                let kept: usize = answers.last.iter().map(|(_, row): (_, &Arc<[f32]>)| row.elsewhere()).sum();
                prop_assert_eq!(kept, answers.elsewhere);
                prop_assert!(answers.bytes() <= most || answers.last.is_empty());
            }
        }
    }
}
