//! Which faults come when: a pure function of the seed, so that a run can be made again.
//!
//! Faults are drawn from a bag that holds every choice, shuffled, and filled again when it is empty: any long enough schedule,
//! and any few seeds in a row, has every kind of fault against every kind of process.

use crate::fault::{CHOICES, Kind, Target};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A fault that is to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fault {
    /// When, in milliseconds after the producers began.
    pub(crate) at_ms: u64,
    /// What is done.
    pub(crate) kind: Kind,
    /// To whom.
    pub(crate) target: Target,
    /// To which of them; counted modulo their number.
    pub(crate) number: usize,
    /// How long it lasts: the pause before a start, the time that a process stands still, the length of a delay's phase.
    pub(crate) lasts_ms: u64,
    /// A number for what the kind leaves open: the milliseconds of a delay, the seconds of a clock's step.
    pub(crate) size: i64,
}

/// What a schedule keeps to.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// How many faults.
    pub(crate) faults: usize,
    /// When the last one begins, at the latest.
    pub(crate) window: Duration,
    /// How long anything may stand still or be away.
    pub(crate) longest: Duration,
    /// What cannot be done on this machine, or is not wanted.
    pub(crate) without: Vec<(Kind, Option<Target>)>,
}

impl Limits {
    fn allows(&self, kind: Kind, target: Target) -> bool {
        !self.without.iter().any(|(no, of)| *no == kind && of.is_none_or(|of| of == target))
    }
}

/// The schedule of `seed`, in the order of time.
pub(crate) fn plan(seed: u64, limits: &Limits) -> Vec<Fault> {
    let mut random = StdRng::seed_from_u64(seed);
    let choices: Vec<(Kind, Target)> = CHOICES
        .iter()
        .filter(|(kind, target, _)| limits.allows(*kind, *target))
        .flat_map(|(kind, target, times)| std::iter::repeat_n((*kind, *target), *times))
        .collect();
    let mut bag: Vec<(Kind, Target)> = Vec::new();
    let window = millis(limits.window);
    let mut faults = Vec::with_capacity(limits.faults);
    while faults.len() < limits.faults && !choices.is_empty() {
        if bag.is_empty() {
            bag = choices.clone();
            bag.shuffle(&mut random);
        }
        let Some((kind, target)) = bag.pop() else { break };
        let (shortest, longest, size) = shape(kind, target, millis(limits.longest), &mut random);
        faults.push(Fault {
            at_ms: random.random_range(0..=window),
            kind,
            target,
            number: random.random_range(0..6),
            lasts_ms: random.random_range(shortest..=longest.max(shortest)),
            size,
        });
    }
    faults.sort_by_key(|fault| fault.at_ms);
    faults
}

/// How long a fault lasts, from and to, and its size.
fn shape(kind: Kind, target: Target, longest: u64, random: &mut StdRng) -> (u64, u64, i64) {
    match kind {
        Kind::Kill | Kind::Terminate
            if matches!(target, Target::Broker | Target::Primary | Target::Member) =>
        {
            (500, 8_000.min(longest), 0)
        }
        // What Kubernetes takes to start a container again.
        Kind::Kill | Kind::Terminate => (100, 3_000.min(longest), 0),
        Kind::Stop | Kind::BlackHole => (1_000, longest, 0),
        Kind::StepDown => (0, 0, 0),
        Kind::Join => (4_000, 15_000, 0),
        Kind::Delay => (3_000, longest, random.random_range(20..=300)),
        Kind::Cut => (100, 5_000.min(longest), 0),
        Kind::FullDisk => (3_000, longest, 0),
        Kind::ClockStep => {
            let step = random.random_range(30..=7_200);
            (3_000, longest, if random.random_bool(0.5) { step } else { -step })
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn limits(faults: usize) -> Limits {
        let (window, longest) = (Duration::from_secs(60), Duration::from_secs(20));
        Limits { faults, window, longest, without: Vec::new() }
    }

    #[test]
    fn a_seed_is_a_schedule() {
        assert_eq!(plan(7, &limits(40)), plan(7, &limits(40)));
        assert_ne!(plan(7, &limits(40)), plan(8, &limits(40)));
        let faults = plan(7, &limits(40));
        assert_eq!(faults.len(), 40);
        assert!(faults.is_sorted_by_key(|fault| fault.at_ms));
        assert!(faults.iter().all(|fault| fault.at_ms <= 60_000 && fault.lasts_ms <= 20_000));
    }

    #[test]
    fn a_long_schedule_has_everything_and_nothing_that_is_not_wanted() {
        let all: usize = CHOICES.iter().map(|(_, _, times)| times).sum();
        let seen: BTreeSet<_> =
            plan(1, &limits(all)).iter().map(|fault| (fault.kind, fault.target)).collect();
        assert_eq!(seen.len(), CHOICES.len());
        let without = vec![(Kind::ClockStep, None), (Kind::Kill, Some(Target::Producer))];
        let faults = plan(1, &Limits { without, ..limits(all) });
        assert!(faults.iter().all(|fault| fault.kind != Kind::ClockStep));
        let producers: Vec<_> = faults.iter().filter(|fault| fault.target == Target::Producer).collect();
        assert!(!producers.is_empty() && producers.iter().all(|fault| fault.kind != Kind::Kill));
    }
}
