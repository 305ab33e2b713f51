//! The keys that came lately, and what came with them.
//!
//! Nothing rests on it but convenience: a repeat is answered without Kafka, and a key that is used for other images is refused.
//! What is forgotten, or was told to another process, is published again under the same ids.

use super::ids::digest;
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

type Digest = [u8; 32];

#[derive(Debug, Clone, Copy)]
struct Entry {
    images: Digest,
    acknowledged: bool,
}

/// What is known of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing, or the same images without an acknowledgement.
    New,
    /// Kafka has the same images.
    Acknowledged,
    /// It came with other images, or another label.
    Other,
}

/// The keys that came lately.
#[derive(Debug)]
pub(super) struct Recent(Mutex<LruCache<Digest, Entry>>);

impl Recent {
    pub(super) fn new(most: usize) -> Self {
        Self(Mutex::new(LruCache::new(NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN))))
    }

    /// Notes that a key came with images of this digest, and says what was known of it.
    pub(super) fn came(&self, user: &str, key: &str, images: Digest) -> Known {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = keys.get_or_insert(name(user, key), || Entry { images, acknowledged: false });
        match entry {
            Entry { images: known, .. } if *known != images => Known::Other,
            Entry { acknowledged: true, .. } => Known::Acknowledged,
            Entry { .. } => Known::New,
        }
    }

    /// Notes that Kafka has the images of this digest under a key. What came under the key meanwhile, because it was forgotten, is
    /// left as it is.
    pub(super) fn acknowledged(&self, user: &str, key: &str, images: Digest) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = keys.get_mut(&name(user, key)).filter(|entry| entry.images == images) {
            entry.acknowledged = true;
        }
    }
}

fn name(user: &str, key: &str) -> Digest {
    digest("firesteel ingest key", &[user.as_bytes(), key.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_for_its_images_until_it_is_forgotten() {
        let recent = Recent::new(2);
        let (cat, dog) = ([1; 32], [2; 32]);
        assert_eq!(recent.came("ada", "k", cat), Known::New);
        assert_eq!(recent.came("ada", "k", cat), Known::New, "it may not have arrived");
        assert_eq!(recent.came("ada", "k", dog), Known::Other);
        assert_eq!(recent.came("bob", "k", dog), Known::New, "keys belong to users");
        recent.acknowledged("ada", "k", cat);
        assert_eq!(recent.came("ada", "k", cat), Known::Acknowledged);
        assert_eq!(recent.came("ada", "k", dog), Known::Other);
        recent.came("ada", "l", cat);
        recent.came("ada", "m", cat);
        assert_eq!(recent.came("ada", "k", dog), Known::New);
        // The acknowledgement of images that were forgotten meanwhile is not one of those that came after them.
        recent.acknowledged("ada", "k", cat);
        assert_eq!(recent.came("ada", "k", dog), Known::New);
        recent.acknowledged("ada", "k", dog);
        assert_eq!(recent.came("ada", "k", dog), Known::Acknowledged);
    }
}
