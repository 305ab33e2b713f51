//! `auto`: the fastest precision here whose accuracy is good enough.
//!
//! ```text
//! accuracy by precision (manifest) ──▶ those that are allowed ──▶ what an image costs in each ──▶ decide ──▶ one, and why
//! ```
//!
//! On a processor the costs are those that the kernels are chosen by (`compiled/choice.rs`): some milliseconds in all, once a
//! process, and no weights are packed for a precision that is not taken. On a GPU each model is made in turn, run for some
//! batches, and dropped.
//!
//! A narrower precision has to be faster than a wider one by a tenth, so that processes on machines of one kind decide alike.
//! On machines of several kinds they may not: the name of the model, which every prediction bears, says what was taken. Who
//! needs one answer everywhere names a precision.

use super::accuracy::Accuracy;
use super::compile::compile;
use super::compiled::{Compiled, Options, cheapest};
use super::device::Device;
use super::error::{Error, Result};
use super::network::Network;
use super::precision::{Precision, PrecisionSetting};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// Images that a GPU gets at once, and how often, to tell what one costs.
const IMAGES: u32 = 64;
const RUNS: usize = 3;

/// A precision, and what spoke for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The precision to compute in.
    pub precision: Precision,
    accuracy: Accuracy,
    costs: BTreeMap<Precision, Duration>,
}

/// The precision to take, by accuracy and by what an image costs in those that can be had. f32 where no cost is known.
///
/// It is allowed by `accuracy`, no wider one that is allowed costs less, and none that is allowed costs less than nine tenths
/// of it.
#[must_use]
pub fn decide(accuracy: &Accuracy, costs: BTreeMap<Precision, Duration>) -> Decision {
    let known = costs.iter().filter(|(precision, _)| accuracy.allows(**precision));
    let (precisions, times): (Vec<Precision>, Vec<f64>) =
        known.map(|(precision, cost)| (*precision, cost.as_secs_f64())).unzip();
    let precision = cheapest(times).map_or(Precision::F32, |index| precisions[index]);
    Decision { precision, accuracy: accuracy.clone(), costs }
}

/// The precision to take for `network` on `device`, after what each costs has been measured.
///
/// # Errors
/// [`Error::Device`] where the build or the machine has no such device, and what else ends a model of a GPU.
pub fn choose(network: &Network, device: Device) -> Result<Decision> {
    let allowed = Precision::ALL.into_iter().filter(|precision| network.accuracy.allows(*precision));
    let allowed: Vec<Precision> = allowed.collect();
    let mut costs = BTreeMap::new();
    // One alone wins without a race. The narrowest, which may be kept in f32, is first measured together with it, in turn, so
    // that nothing that disturbs the machine for a while meets one of them alone.
    if allowed.len() > 1 {
        for precision in allowed.into_iter().rev() {
            match cost(network, precision, device) {
                Ok(cost) => costs.extend(cost.map(|cost| (precision, cost))),
                Err(error @ Error::Precision { .. }) => {
                    tracing::debug!(%error, "a precision is not to be had");
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(decide(&network.accuracy, costs))
}

/// What an image costs in `precision`; `None` where nobody measures that.
fn cost(network: &Network, precision: Precision, device: Device) -> Result<Option<Duration>> {
    let isa = match device {
        Device::Cpu => None,
        Device::CpuWith(isa) => Some(isa),
        Device::Cuda(_) | Device::Metal => return run(network, precision, device).map(Some),
    };
    Compiled::cost(network, &Options { isa, ..Options::new(precision) })
}

/// What an image costs in a batch of a model, which is made for that.
fn run(network: &Network, precision: Precision, device: Device) -> Result<Duration> {
    let mut model = compile(network, precision, device)?;
    let pixels = vec![0; IMAGES as usize * network.info.image_len()];
    // The first batch of a size prepares much.
    model.forward(&pixels)?;
    let mut best = Duration::MAX;
    for _ in 0..RUNS {
        let began = Instant::now();
        model.forward(&pixels)?;
        best = best.min(began.elapsed());
    }
    Ok(best / IMAGES)
}

impl PrecisionSetting {
    /// The precision that this is for `network` on `device`. What [`PrecisionSetting::Auto`] takes is told in the log, with
    /// the reason. Models that are to be alike are compiled in the result of one call.
    ///
    /// # Errors
    /// As [`choose`].
    pub fn resolve(self, network: &Network, device: Device) -> Result<Precision> {
        if let Self::Named(precision) = self {
            return Ok(precision);
        }
        let decision = choose(network, device)?;
        let (model, precision) = (&network.info.name, decision.precision);
        tracing::info!(model, %precision, %device, reason = %decision, "precision chosen");
        Ok(precision)
    }
}

/// The reason: what each precision costs and is worth, and the rule.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accuracy, costs, .. } = self;
        if !Precision::ALL
            .into_iter()
            .any(|precision| precision != Precision::F32 && accuracy.allows(precision))
        {
            f.write_str("no other precision than f32 is known to be accurate enough")?;
        } else if costs.is_empty() {
            f.write_str("there are no costs to compare here")?;
        } else {
            f.write_str("the fastest that is accurate enough, by a tenth at least for a narrower one")?;
        }
        for precision in Precision::ALL {
            write!(f, "; {precision}")?;
            match accuracy.of(precision) {
                Some(share) => write!(f, " {:.2} %", 100.0 * share)?,
                None => f.write_str(" of unknown accuracy")?,
            }
            match costs.get(&precision) {
                Some(cost) => write!(f, ", {:.3} ms an image", 1e3 * cost.as_secs_f64())?,
                None if costs.is_empty() => {}
                None if accuracy.allows(precision) => f.write_str(", not to be had here")?,
                None if accuracy.of(precision).is_some() => {
                    write!(f, ", more than {:.2} points below f32", 100.0 * accuracy.tolerance())?;
                }
                None => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::compiled::Isa;
    use crate::inference::{Weights, compile};
    use proptest::prelude::*;

    fn accuracy(shares: [Option<f64>; 3]) -> Accuracy {
        let figures = Precision::ALL.into_iter().zip(shares);
        let figures = figures.filter_map(|(precision, share)| Some((precision, share?))).collect();
        Accuracy::new(figures, Accuracy::TOLERANCE).expect("shares")
    }

    fn costs(microseconds: [Option<u64>; 3]) -> BTreeMap<Precision, Duration> {
        let costs = Precision::ALL.into_iter().zip(microseconds);
        costs.filter_map(|(precision, cost)| Some((precision, Duration::from_micros(cost?)))).collect()
    }

    fn network() -> Network {
        Network::read(Weights::shipped().expect("weights")).expect("a network")
    }

    #[test]
    fn the_fastest_that_is_accurate_enough_is_taken() {
        let good = [Some(0.93), Some(0.931), Some(0.929)];
        let worse = [Some(0.93), Some(0.93), Some(0.90)];
        let unknown = [Some(0.93), None, Some(0.929)];
        for (shares, times, expected) in [
            (good, [Some(2_300), Some(2_300), Some(1_100)], Precision::Int8),
            (good, [Some(2_300), Some(1_200), Some(1_100)], Precision::Bf16),
            (good, [Some(2_300), Some(2_200), Some(2_100)], Precision::F32),
            (good, [Some(2_300), Some(2_200), Some(2_000)], Precision::Int8),
            (worse, [Some(2_300), Some(1_200), Some(400)], Precision::Bf16),
            (worse, [Some(2_300), Some(2_300), Some(400)], Precision::F32),
            (unknown, [Some(2_300), Some(400), Some(1_100)], Precision::Int8),
            ([None; 3], [Some(2_300), Some(400), Some(400)], Precision::F32),
            ([None, Some(0.93), Some(0.93)], [Some(2_300), Some(400), Some(400)], Precision::F32),
            // A GPU has no int8, instructions of a processor may have no f32.
            (good, [Some(90), Some(40), None], Precision::Bf16),
            (good, [None, Some(90), Some(40)], Precision::Int8),
            (good, [None; 3], Precision::F32),
        ] {
            let decision = decide(&accuracy(shares), costs(times));
            assert_eq!(decision.precision, expected, "{shares:?} {times:?}: {decision}");
        }
    }

    #[test]
    fn the_reason_has_the_figures() {
        let good = accuracy([Some(0.9306), Some(0.9306), Some(0.9)]);
        let told = decide(&good, costs([Some(2_300), Some(1_200), None])).to_string();
        let expected = "the fastest that is accurate enough, by a tenth at least for a narrower one; f32 93.06 %, 2.300 ms an image; \
                        bf16 93.06 %, 1.200 ms an image; int8 90.00 %, more than 0.50 points below f32";
        assert_eq!(told, expected);
        let told = decide(&Accuracy::default(), costs([None; 3])).to_string();
        let unknown = "no other precision than f32 is known to be accurate enough; f32 of unknown accuracy";
        assert!(told.starts_with(unknown), "{told}");
    }

    proptest! {
        #[test]
        fn a_decision_is_allowed_and_hardly_slower_than_any_that_is(
            shares in proptest::array::uniform3(proptest::option::of(0.9..=1.0)),
            times in proptest::array::uniform3(proptest::option::of(1_u64..10_000)),
        ) {
            let (accuracy, costs) = (accuracy(shares), costs(times));
            let decision = decide(&accuracy, costs.clone());
            let others = costs.iter().filter(|(precision, _)| accuracy.allows(**precision));
            let Some(cost) = costs.get(&decision.precision).filter(|_| accuracy.allows(decision.precision)) else {
                prop_assert_eq!(decision.precision, Precision::F32);
                prop_assert_eq!(others.count(), 0);
                return Ok(());
            };
            for (precision, other) in others {
                prop_assert!(*precision >= decision.precision || cost < other, "a wider one is faster");
                prop_assert!(other.as_secs_f64() >= 0.9 * cost.as_secs_f64());
            }
            prop_assert!(!decision.to_string().is_empty());
        }
    }

    /// On whatever processor this runs: the model bears the precision that is taken, and so does each further decision.
    #[test]
    fn the_shipped_model_is_decided_for_by_its_manifest() {
        let network = network();
        let decision = choose(&network, Device::Cpu).expect("a decision");
        assert!(network.accuracy.allows(decision.precision));
        assert_eq!(choose(&network, Device::Cpu).expect("a decision"), decision, "costs are measured once");
        let precision = PrecisionSetting::Auto.resolve(&network, Device::Cpu).expect("a precision");
        assert_eq!(precision, decision.precision);
        let model = compile(&network, precision, Device::Cpu).expect("a model");
        assert_eq!(model.info().name, format!("resnet18-cifar10/{precision}"));
        if Isa::detect(Precision::F32) == Isa::Portable {
            assert!(decision.costs.is_empty() && precision == Precision::F32, "{decision}");
        } else {
            assert!(!decision.costs.is_empty(), "{decision}");
            // What a precision is kept in is taken under its own name.
            assert!(
                precision == Precision::F32 || model.kernels().starts_with(precision.name()),
                "{decision}"
            );
        }
    }

    #[test]
    fn without_figures_it_is_f32_and_a_named_one_is_not_asked_about() {
        let network = Network { accuracy: Accuracy::default(), ..network() };
        let decision = choose(&network, Device::Cpu).expect("a decision");
        assert_eq!(
            (decision.precision, decision.costs.len()),
            (Precision::F32, 0),
            "nothing is measured for it"
        );
        for precision in Precision::ALL {
            let named = PrecisionSetting::from(precision);
            assert_eq!(named.resolve(&network, Device::Cuda(99)).expect("no device is needed"), precision);
        }
    }

    /// int8 whose ranges are missing cannot be had, whatever its figure says.
    #[test]
    fn what_cannot_be_computed_is_left_out() {
        let network = Network { calibration: None, accuracy: accuracy([Some(0.9); 3]), ..network() };
        let decision = choose(&network, Device::Cpu).expect("a decision");
        assert!(!decision.costs.contains_key(&Precision::Int8), "{decision}");
        assert_ne!(decision.precision, Precision::Int8);
    }

    #[test]
    fn pinned_instructions_are_measured_alone() {
        for isa in Isa::ALL.into_iter().filter(|isa| *isa != Isa::Portable && isa.supports(Precision::Int8)) {
            let decision = choose(&network(), Device::CpuWith(isa)).expect("a decision");
            assert!(decision.costs.contains_key(&Precision::Int8), "{isa}: {decision}");
            assert!(
                compile(&network(), decision.precision, Device::CpuWith(isa)).is_ok(),
                "{isa}: {decision}"
            );
        }
    }
}
