//! Images through partitions, consumers and inference pods, event by event: does what waits stay bounded, or grow?
//!
//! Images arrive at random (a Poisson process), each in a partition. A partition belongs to one consumer, which holds so
//! many images in flight and keeps one connection to one pod. A pod takes what is queued, up to a batch, while it was busy
//! with the batch before. MongoDB and the hop through the topic of predictions are not simulated: they have no queue of
//! this kind. Large plans are simulated by a slice: pods do not know of each other, so 8 of them with their share of the
//! images are as good.

use std::cmp::Ordering;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::plan::{Inputs, Plan};
use super::{markdown, number};

const SLICE: usize = 8;
const IN_FLIGHT: usize = 256;
const BATCH: usize = 64;
/// What waits may swing by this share of the rate and still be called bounded.
const GROWTH: f64 = 0.02;

/// How a plan is run.
#[derive(Clone, Copy, Debug)]
struct Setup {
    seconds: f64,
    /// Each connection leads to any pod, as a Service of Kubernetes has it; else they are dealt out evenly.
    at_random: bool,
    /// How many times the plan's rate.
    load: f64,
    seed: u64,
}

/// What one run came to.
#[derive(Clone, Debug, PartialEq)]
struct Ran {
    pods: usize,
    rate: f64,
    utilisation: f64,
    busiest: f64,
    waiting: usize,
    /// Images a second, over the second half.
    growth: f64,
    p99_seconds: f64,
}

impl Ran {
    fn is_bounded(&self) -> bool {
        self.growth < GROWTH * self.rate
    }
}

pub(super) fn table(plans: &[Plan], inputs: &Inputs, seconds: f64) -> String {
    let titles = [
        "images/s",
        "simulated",
        "connections",
        "load",
        "busy",
        "busiest pod",
        "p99",
        "waiting at the end",
        "verdict",
    ];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for plan in plans {
        // As planned; with a tenth more than there is capacity; as planned, by way of a Service.
        for (at_random, load) in [(false, 1.0), (false, 1.1 * plan.capacity / plan.rate), (true, 1.0)] {
            let ran = simulate(plan, inputs, Setup { seconds, at_random, load, seed: 1 });
            rows.push(vec![
                number(plan.rate),
                format!("{} of {} pods", ran.pods, number(plan.inference_pods)),
                if at_random { "at random" } else { "even" }.to_owned(),
                format!("{load:.2}"),
                format!("{:.0}%", ran.utilisation * 100.0),
                format!("{:.0}%", ran.busiest * 100.0),
                format!("{:.2} s", ran.p99_seconds),
                number(ran.waiting as f64),
                match ran.is_bounded() {
                    true => "bounded".to_owned(),
                    false => format!("grows by {}/s", number(ran.growth.round())),
                },
            ]);
        }
    }
    markdown(&rows)
}

/// Runs `plan`, or a slice of it.
fn simulate(plan: &Plan, inputs: &Inputs, setup: Setup) -> Ran {
    let pods = plan.inference_pods.min(SLICE as f64);
    let share = pods / plan.inference_pods;
    let consumers = (plan.consumers * share).round().max(pods);
    let partitions = (plan.partitions * share).round().max(consumers);
    let (pods, consumers, partitions) = (pods as usize, consumers as usize, partitions as usize);
    let mut chance = StdRng::seed_from_u64(setup.seed);
    let pod_of = (0..consumers).map(|consumer| match setup.at_random {
        true => chance.random_range(0..pods),
        false => consumer % pods,
    });
    let pod_of = pod_of.collect();
    let run = Run {
        partitions,
        speed: f64::from(inputs.cores_per_inference_pod) * inputs.inference_per_core,
        chance,
        pod_of,
        logs: vec![VecDeque::new(); consumers],
        in_flight: vec![0; consumers],
        queues: vec![VecDeque::new(); pods],
        batches: vec![Vec::new(); pods],
        busy: vec![0.0; pods],
        latencies: Vec::new(),
        arrived: 0,
    };
    run.go(plan.rate * setup.load * share, setup.seconds)
}

/// An image arrives, or a pod is done with its batch.
#[derive(Clone, Copy, Debug)]
struct Event {
    at: f64,
    /// The pod that is done.
    pod: Option<usize>,
}

/// The earliest is the greatest, for a heap.
impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.total_cmp(&self.at).then(other.pod.cmp(&self.pod))
    }
}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Event {}

struct Run {
    partitions: usize,
    speed: f64,
    chance: StdRng,
    pod_of: Vec<usize>,
    /// By consumer: when each image that waits in Kafka arrived.
    logs: Vec<VecDeque<f64>>,
    in_flight: Vec<usize>,
    /// By pod: when each image arrived, and its consumer.
    queues: Vec<VecDeque<(f64, usize)>>,
    batches: Vec<Vec<(f64, usize)>>,
    busy: Vec<f64>,
    latencies: Vec<f64>,
    arrived: usize,
}

impl Run {
    fn go(mut self, rate: f64, seconds: f64) -> Ran {
        let mut events = BinaryHeap::from([Event { at: self.pause(rate), pod: None }]);
        let mut half = None;
        while let Some(Event { at, pod }) = events.pop().filter(|event| event.at <= seconds) {
            if half.is_none() && at > seconds / 2.0 {
                half = Some(self.waiting());
            }
            let pod = match pod {
                Some(pod) => {
                    self.finish(pod, at);
                    pod
                }
                None => {
                    let consumer = self.chance.random_range(0..self.partitions) % self.logs.len();
                    self.arrived += 1;
                    self.logs[consumer].push_back(at);
                    events.push(Event { at: at + self.pause(rate), pod: None });
                    self.forward(consumer);
                    self.pod_of[consumer]
                }
            };
            if !self.queues[pod].is_empty() && self.batches[pod].is_empty() {
                events.push(Event { at: at + self.begin(pod, seconds - at), pod: Some(pod) });
            }
        }
        let waiting = self.waiting();
        self.latencies.sort_by(f64::total_cmp);
        let last = (self.latencies.len() as f64 * 0.99) as usize;
        Ran {
            pods: self.busy.len(),
            rate,
            utilisation: self.busy.iter().sum::<f64>() / seconds / self.busy.len() as f64,
            busiest: self.busy.iter().copied().fold(0.0, f64::max) / seconds,
            waiting,
            growth: (waiting as f64 - half.unwrap_or(0) as f64) / (seconds / 2.0),
            p99_seconds: self.latencies.get(last).copied().unwrap_or(f64::INFINITY),
        }
    }

    /// Until the next image arrives.
    fn pause(&mut self, rate: f64) -> f64 {
        -(1.0 - self.chance.random::<f64>()).ln() / rate
    }

    fn waiting(&self) -> usize {
        self.arrived - self.latencies.len()
    }

    /// A consumer sends what it may to its pod.
    fn forward(&mut self, consumer: usize) {
        while self.in_flight[consumer] < IN_FLIGHT {
            let Some(arrived) = self.logs[consumer].pop_front() else { return };
            self.in_flight[consumer] += 1;
            self.queues[self.pod_of[consumer]].push_back((arrived, consumer));
        }
    }

    /// A pod takes a batch; how long that takes. `left`: of the simulation.
    fn begin(&mut self, pod: usize, left: f64) -> f64 {
        let queue = &mut self.queues[pod];
        let batch: Vec<_> = queue.drain(..BATCH.min(queue.len())).collect();
        let took = batch.len() as f64 / self.speed;
        self.batches[pod] = batch;
        self.busy[pod] += took.min(left);
        took
    }

    fn finish(&mut self, pod: usize, now: f64) {
        let done = std::mem::take(&mut self.batches[pod]);
        let mut consumers = BTreeSet::new();
        for (arrived, consumer) in done {
            self.latencies.push(now - arrived);
            self.in_flight[consumer] -= 1;
            consumers.insert(consumer);
        }
        for consumer in consumers {
            self.forward(consumer);
        }
    }
}

#[cfg(test)]
mod tests {
    //! The same numbers as the plan's, from a different direction.

    use super::super::plan::tests::{defaults, round};
    use super::*;

    const MINUTE: Setup = Setup { seconds: 60.0, at_random: false, load: 1.0, seed: 1 };

    fn near(found: f64, wanted: f64, delta: f64) {
        assert!((found - wanted).abs() <= delta, "{found} is not {wanted}, give or take {delta}");
    }

    #[test]
    fn pods_are_as_busy_as_the_formula_says_and_nothing_piles_up() {
        let busy = Inputs { utilisation: 0.9, consumers_per_inference_pod: 3, ..defaults() };
        for inputs in [round(), defaults(), busy] {
            for rate in [1_000.0, 100_000.0] {
                let plan = Plan::of(rate, &inputs);
                let ran = simulate(&plan, &inputs, MINUTE);
                assert!(ran.is_bounded(), "{ran:?} of {inputs:?}");
                near(ran.utilisation, rate / plan.capacity, 0.02);
                assert!(ran.p99_seconds < 2.0, "{ran:?}");
            }
        }
    }

    #[test]
    fn beyond_capacity_what_waits_grows_by_the_difference() {
        let plan = Plan::of(2_000.0, &round());
        assert_eq!(plan.capacity, 4_000.0);
        let ran = simulate(&plan, &round(), Setup { load: 2.2, ..MINUTE });
        assert!(!ran.is_bounded());
        // 8 of the 10 pods are simulated: 3,520 images/s come, and 3,200 go.
        assert_eq!(ran.pods, 8);
        near(ran.rate, 3_520.0, 1e-6);
        near(ran.growth, 320.0, 40.0);
        assert!(ran.utilisation > 0.99);
    }

    #[test]
    fn one_pod_less_than_the_load_needs_is_found() {
        let inputs = Inputs { utilisation: 1.0, ..round() };
        let enough = Plan::of(2_000.0, &Inputs { utilisation: 0.9, ..inputs.clone() });
        assert!(simulate(&enough, &inputs, MINUTE).is_bounded());
        assert_eq!(enough.inference_pods, 6.0);
        let less = Plan { inference_pods: 4.0, consumers: 4.0, ..enough };
        assert!(!simulate(&less, &inputs, MINUTE).is_bounded());
    }

    #[test]
    fn consumers_that_do_not_divide_the_partitions_have_unequal_work() {
        // Of 8 partitions two of 6 consumers have two: a quarter of all images goes to each of their pods.
        let plan = Plan::of(1_200.0, &round());
        let uneven = Plan { inference_pods: 6.0, consumers: 6.0, partitions: 8.0, ..plan };
        let ran = simulate(&uneven, &round(), MINUTE);
        near(ran.busiest, 0.25 * 1_200.0 / 400.0, 0.03);
        near(ran.utilisation, 0.5, 0.02);
    }

    #[test]
    fn connections_at_random_leave_pods_idle() {
        let plan = Plan::of(100_000.0, &defaults());
        let even = simulate(&plan, &defaults(), MINUTE);
        let chance = simulate(&plan, &defaults(), Setup { at_random: true, ..MINUTE });
        assert!(chance.busiest > even.busiest && chance.waiting > even.waiting, "{chance:?} {even:?}");
    }

    #[test]
    fn the_same_seed_is_the_same_run() {
        let (plan, brief) = (Plan::of(1_000.0, &defaults()), Setup { seconds: 10.0, ..MINUTE });
        let first = simulate(&plan, &defaults(), brief);
        assert_eq!(first, simulate(&plan, &defaults(), brief));
        assert_ne!(first, simulate(&plan, &defaults(), Setup { seed: 2, ..brief }));
    }
}
