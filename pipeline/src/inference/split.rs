//! Which model an image gets that asks for none: the first one, or by shares, as in an A/B test.
//!
//! An image's identity is hashed to a point between 0 and 1, and the shares lie side by side in the order of the settings. So the
//! same image gets the same model whenever and wherever it is asked about, which keeps a document the same when its image is
//! delivered again; and when a share grows at the expense of its neighbour's, the images that it had stay with it.

use super::error::{Error, Result};
use sha2::{Digest as _, Sha256};

/// How images are shared out to models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Where the share of a model ends, and which it is, in ascending order; never empty, and never an empty share.
    ends: Vec<(u64, usize)>,
}

impl Split {
    /// Shares out to as many models as there are `shares`, which are in proportion to their sum; where none of them has one, the
    /// first model gets all.
    ///
    /// # Errors
    /// [`Error::Setting`] where all shares that there are are 0.
    pub fn new(shares: &[Option<u32>]) -> Result<Self> {
        if shares.iter().all(Option::is_none) {
            return Ok(Self { ends: vec![(1, 0)] });
        }
        let (mut end, mut ends) = (0, Vec::new());
        for (model, share) in shares.iter().enumerate().filter_map(|(model, share)| Some((model, (*share)?)))
        {
            end += u64::from(share);
            if share > 0 {
                ends.push((end, model));
            }
        }
        if ends.is_empty() {
            return Err(Error::Setting {
                setting: "share",
                value: "0 for every model that has one".to_owned(),
                expected: "a share above 0 for one of them",
            });
        }
        Ok(Self { ends })
    }

    /// The index of the model for the image with this identity.
    #[must_use]
    pub fn of(&self, identity: &[u8]) -> usize {
        match self.ends[..] {
            // One model gets all: there is nothing to find out.
            [(_, only)] => only,
            _ => self.at(point(identity)),
        }
    }

    /// The share of a model.
    #[must_use]
    pub fn share(&self, model: usize) -> u32 {
        let begins = std::iter::once(0).chain(self.ends.iter().map(|(end, _)| *end));
        let share = begins.zip(&self.ends).find(|(_, (_, of))| *of == model);
        share.map_or(0, |(begin, (end, _))| u32::try_from(end - begin).unwrap_or(u32::MAX))
    }

    /// The model whose share a point lies in, of 2⁶⁴ between 0 and 1.
    fn at(&self, point: u64) -> usize {
        let total = self.ends.last().map_or(1, |(end, _)| *end);
        // Below `total`, because the point is below 2⁶⁴.
        let place = (u128::from(point) * u128::from(total)) >> 64;
        let index = self.ends.partition_point(|(end, _)| u128::from(*end) <= place);
        self.ends[index.min(self.ends.len() - 1)].1
    }
}

/// The first eight bytes of the identity's SHA-256: the same on every machine and in every version.
fn point(identity: &[u8]) -> u64 {
    let digest = Sha256::digest(identity);
    digest.iter().take(8).fold(0, |point, byte| point << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(shares: &[Option<u32>]) -> Split {
        Split::new(shares).expect("shares")
    }

    #[test]
    fn without_shares_the_first_model_gets_all() {
        let split = split(&[None, None]);
        assert!((0..100_u8).all(|image| split.of(&[image]) == 0));
        assert_eq!([0, 1].map(|model| split.share(model)), [1, 0]);
    }

    #[test]
    fn a_model_without_a_share_gets_nothing_that_does_not_ask_for_it() {
        let split = split(&[None, Some(0), Some(7), None]);
        assert!((0..100_u8).all(|image| split.of(&[image]) == 2));
        assert_eq!([0, 1, 2, 3].map(|model| split.share(model)), [0, 0, 7, 0]);
        let error = Split::new(&[Some(0), None, Some(0)]).expect_err("nobody").to_string();
        assert!(error.contains("share") && error.contains("above 0"), "{error}");
    }

    /// What is written in documents depends on it, so it must not change from one version to the next.
    #[test]
    fn an_image_keeps_its_model_for_ever() {
        let split = split(&[Some(1), Some(1), Some(2)]);
        let ids = ["00000001:1", "00000001:2", "a", "b", "c", ""];
        assert_eq!(ids.map(|id| split.of(id.as_bytes())), [2, 2, 2, 0, 0, 2]);
    }

    #[test]
    fn shares_meet_at_their_ends() {
        let split = split(&[Some(1), Some(3)]);
        let quarter = 1 << 62;
        let models = [0, quarter - 1, quarter, u64::MAX].map(|point| split.at(point));
        assert_eq!(models, [0, 0, 1, 1]);
    }

    proptest! {
        #[test]
        fn every_point_is_somebodys_and_a_share_is_as_large_as_it_says(
            shares in proptest::collection::vec(proptest::option::of(any::<u32>()), 1..8),
            point in any::<u64>(),
        ) {
            prop_assume!(shares.iter().flatten().any(|share| *share > 0));
            let split = split(&shares);
            let model = split.at(point);
            prop_assert!(shares[model].is_some_and(|share| share > 0));
            prop_assert_eq!(split.at(point), model);
            for (index, share) in shares.iter().enumerate() {
                prop_assert_eq!(split.share(index), share.unwrap_or(0));
            }
        }

        /// Of n images a model with the share p gets n·p, give or take some standard deviations.
        #[test]
        fn shares_are_met(shares in proptest::collection::vec(0_u32..100, 2..5), producer in any::<u32>()) {
            prop_assume!(shares.iter().any(|share| *share > 0));
            let (split, images) = (split(&shares.iter().copied().map(Some).collect::<Vec<_>>()), 2_000_u32);
            let mut found = vec![0_u32; shares.len()];
            for sequence in 0..images {
                found[split.of(format!("{producer:08x}:{sequence}").as_bytes())] += 1;
            }
            let total = f64::from(shares.iter().sum::<u32>());
            for (share, found) in shares.iter().zip(found) {
                let p = f64::from(*share) / total;
                let (expected, spread) = (f64::from(images) * p, (f64::from(images) * p * (1.0 - p)).sqrt());
                prop_assert!((f64::from(found) - expected).abs() <= 6.0 * spread + 6.0, "{found} of {expected}");
            }
        }

        #[test]
        fn an_image_stays_with_a_share_that_grows_at_its_neighbours_expense(
            image in any::<[u8; 8]>(), small in 1_u32..50, more in 0_u32..50,
        ) {
            let before = split(&[Some(100 - small), Some(small)]).of(&image);
            let after = split(&[Some(100 - small - more), Some(small + more)]).of(&image);
            prop_assert!(before == 0 || after == 1);
        }
    }
}
