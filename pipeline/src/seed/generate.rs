//! The predictions themselves. Pure: the prediction at an index follows from seed, number of producers and index
//! alone, whoever makes it and in whichever order, so that a run can be repeated, extended and split among writers.

use super::confusion::{label, pick};
use firesteel_proto::{ImageId, PredictionRecord, ProducerId, Sequence, Timestamp};

/// The model that seeded predictions name: none of them was made by a network.
pub const MODEL: &str = "seeded";

/// 2026-01-01T00:00:00Z, when every seeded producer starts.
const START: i64 = 1_767_225_600_000;
/// Milliseconds between two images of a producer.
const EVERY: i64 = 10;
/// An inference takes 5 ms and up to this many more.
const SPREAD: u64 = 250;

/// A sequence of predictions without an end, of which a run writes the first so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generator {
    seed: u64,
    producers: u32,
    /// How many of 2^32 images have no true class.
    unlabelled: u64,
}

/// 2^32, all of them.
const ALL: u64 = 1 << 32;

impl Generator {
    /// Predictions of `producers` producers (at least one), who take turns.
    #[must_use]
    pub fn new(seed: u64, producers: u32) -> Self {
        Self { seed, producers: producers.max(1), unlabelled: 0 }
    }

    /// The same predictions, where the true class of a share of the images (0 to 1) is not known. Which ones follows from the
    /// seed and the index, too; with a larger share they stay without one.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 and 2^32")]
    pub fn with_unlabelled(self, share: f64) -> Self {
        // NaN is 0 of them.
        Self { unlabelled: (share.clamp(0.0, 1.0) * ALL as f64) as u64, ..self }
    }

    /// The id of producer `number`; different numbers have different ids.
    #[must_use]
    pub fn producer(&self, number: u32) -> ProducerId {
        let low = u32::try_from(mix(self.seed) & 0xffff_ffff).unwrap_or(0);
        permute(low.wrapping_add(number)).into()
    }

    /// The prediction at `index`: that of image `index / producers` of producer `index % producers`.
    #[must_use]
    pub fn prediction(&self, index: u64) -> PredictionRecord {
        let producers = u64::from(self.producers);
        let number = u32::try_from(index % producers).unwrap_or(0);
        let sequence = index / producers;
        let random = |draw: u64| mix(mix(self.seed ^ mix(index)).wrapping_add(draw));
        let (class, predicted) = pick(random(0));
        let produced_at = i64::try_from(sequence)
            .ok()
            .and_then(|sequence| sequence.checked_mul(EVERY)?.checked_add(START))
            .unwrap_or(i64::MAX / 2);
        let took = 5 + i64::try_from(random(1) % SPREAD).unwrap_or(0);
        PredictionRecord {
            id: ImageId { producer: self.producer(number), sequence: Sequence(sequence) },
            label: (random(3) >> 32 >= self.unlabelled).then(|| label(class)),
            predicted: label(predicted),
            confidence: confidence(class == predicted, random(2)),
            model: MODEL.to_owned(),
            produced_at: Timestamp(produced_at),
            inferred_at: Timestamp(produced_at + took),
        }
    }
}

/// Shaped after the softmax of `assets/reference.safetensors`: of its 64 images 57 are right, with 0.40 to 0.93 and
/// 0.85 in the mean, and 7 are wrong, with 0.43 to 0.73 and 0.50 in the mean.
fn confidence(correct: bool, random: u64) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "24 bits are what an f32 holds")]
    let uniform = (random >> 40) as f32 / (1_u32 << 24) as f32;
    if correct { 0.93 - 0.53 * uniform.powi(6) } else { 0.3 + 0.4 * uniform }
}

/// SplitMix64's step (Steele, Lea, Flood 2014). Written out, so that a seed means the same for ever, whichever random
/// numbers a library makes of it in its next version.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// MurmurHash3's 32-bit finalizer: a permutation, so that different numbers stay different.
fn permute(value: u32) -> u32 {
    let value = (value ^ (value >> 16)).wrapping_mul(0x85eb_ca6b);
    let value = (value ^ (value >> 13)).wrapping_mul(0xc2b2_ae35);
    value ^ (value >> 16)
}

#[cfg(test)]
mod tests {
    use super::super::confusion::{CLASSES, CONFUSION};
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn an_index_has_one_prediction_and_one_id(
            seed: u64, producers in 1_u32..50, start in 0_u64..1_000_000_000_000,
        ) {
            let generator = Generator::new(seed, producers);
            let mut ids = BTreeSet::new();
            for index in start..start + 200 {
                let record = generator.prediction(index);
                prop_assert_eq!(&record, &Generator::new(seed, producers).prediction(index));
                prop_assert!(record.produced_at < record.inferred_at);
                prop_assert!((0.0..=1.0).contains(&record.confidence));
                prop_assert_eq!(PredictionRecord::decode(&record.encode()), Ok(record.clone()));
                prop_assert!(ids.insert(record.id), "{} twice", record.id);
            }
        }

        #[test]
        fn no_number_is_too_large(seed: u64, producers: u32, index: u64) {
            let record = Generator::new(seed, producers).prediction(index);
            prop_assert!(record.produced_at < record.inferred_at);
        }
    }

    #[test]
    fn each_producer_counts_from_zero_without_a_gap() {
        let generator = Generator::new(7, 3);
        let sequences = |number: u32| -> Vec<u64> {
            let id = generator.producer(number);
            let records = (0..100).map(|index| generator.prediction(index));
            records.filter(|record| record.id.producer == id).map(|record| record.id.sequence.0).collect()
        };
        assert_eq!(sequences(0), (0..34).collect::<Vec<_>>());
        assert_eq!(sequences(2), (0..33).collect::<Vec<_>>());
    }

    #[test]
    fn a_seed_means_the_same_for_ever() {
        // What the first release wrote: whoever changes this changes every seeded collection.
        let record = Generator::new(42, 4).prediction(10);
        assert_eq!(
            format!("{} {} {} {:.4}", record.id, named(&record), record.predicted, record.confidence),
            PINNED
        );
        assert_eq!((record.produced_at.0, record.inferred_at.0 - record.produced_at.0), (START + 20, TOOK));
        assert_ne!(Generator::new(43, 4).prediction(10), record);
    }
    fn named(record: &PredictionRecord) -> &str {
        record.label.as_ref().map_or("(none)", firesteel_proto::Label::as_str)
    }

    const PINNED: &str = "7ff8c9c1:2 dog dog 0.9300";
    const TOOK: i64 = 96;

    #[test]
    fn so_many_have_no_label_and_nothing_else_of_them_changes() {
        let all = Generator::new(5, 3);
        for (share, least, most) in
            [(0.0, 0, 0), (0.1, 850, 1_150), (0.5, 4_700, 5_300), (1.0, 10_000, 10_000)]
        {
            let some = all.with_unlabelled(share);
            let mut unlabelled = 0;
            for index in 0..10_000 {
                let (record, known) = (some.prediction(index), all.prediction(index));
                unlabelled += usize::from(record.label.is_none());
                assert_eq!(PredictionRecord { label: known.label.clone(), ..record }, known);
            }
            assert!((least..=most).contains(&unlabelled), "{unlabelled} of 10,000 at {share}");
        }
        let (few, many) = (all.with_unlabelled(0.2), all.with_unlabelled(0.6));
        let lacks = |generator: Generator, index| generator.prediction(index).label.is_none();
        assert!((0..1_000).all(|index| !lacks(few, index) || lacks(many, index)));
        assert_eq!(all.with_unlabelled(f64::NAN), all);
    }

    #[test]
    fn labels_and_errors_come_as_often_as_from_the_model() {
        // Every cell of the matrix is binomial: five standard deviations hold for each of the 100 cells but once in
        // 20,000 seeds, and the seed is fixed.
        let draws = 200_000_u32;
        let generator = Generator::new(1, 4);
        let mut counts = [[0_u32; 10]; 10];
        let (mut sure, mut right) = (0.0, 0_u32);
        for record in (0..u64::from(draws)).map(|index| generator.prediction(index)) {
            let class = |name: &str| CLASSES.iter().position(|class| *class == name).expect("a class");
            counts[class(named(&record))][class(record.predicted.as_str())] += 1;
            if record.correct() == Some(true) {
                right += 1;
                sure += f64::from(record.confidence);
            }
        }
        for (row, expected) in counts.iter().zip(CONFUSION) {
            for (&count, images) in row.iter().zip(expected) {
                let share = f64::from(images) / 10_000.0;
                let deviation = (f64::from(draws) * share * (1.0 - share)).sqrt();
                let off = (f64::from(count) - f64::from(draws) * share).abs();
                assert!(off <= 5.0 * deviation, "{count} of {draws} where {images} of 10,000 are expected");
            }
        }
        let accuracy = f64::from(right) / f64::from(draws);
        assert!((accuracy - 0.9315).abs() < 0.004, "{accuracy}");
        let sure = sure / f64::from(right);
        assert!((sure - 0.854).abs() < 0.005, "{sure}");
    }
}
