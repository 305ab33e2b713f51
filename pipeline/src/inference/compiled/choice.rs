//! Which instructions compute a layer: the fastest of those that the processor has, as measured when a network is compiled.
//!
//! What exists is not what is fast: on some processors the instruction for bf16 has half the rate of the one for f32. So
//! each kind of layer is run on made-up numbers by every candidate in turn, some thousandths of a second for each, and the
//! best run of each counts. For bf16 and int8 the whole network may be kept in f32 instead, which loses nothing but memory:
//! that is done where it is faster, so that neither is ever slower than f32. The figures belong to the processor, so a
//! process keeps them: all its models choose alike.
//!
//! What is measured is a batch, where the weights are in the cache for many images. A batch of one or two costs more, and by
//! another ratio, because all weights come from memory for it: there bf16's own instructions may be the faster ones although
//! f32's are in a batch. Numbers that are chosen by the batch would let an image's answer depend on its company, so one choice
//! is made for all, and for the batches that a busy server has. int8 is not kept in bf16 where that is somewhat faster in a
//! batch: alone, and in memory, it would lose more.
//!
//! The sums of int8 are exact and those of f32 are taken in one order by all instructions, so which of them are chosen is
//! not seen in the results. What bf16 and int8 are kept in is, and bf16 may differ in the last bits by instructions. [`Options::isa`](super::Options) leaves no choice.

use super::Options;
use super::plan::Plan;
use super::simd::{
    Driver, Epilogue, Isa, Job, PANEL, Positions, Residual, Winograd, WinogradScratch, Words, conv, winograd,
};
use super::tensor::Plane;
use crate::inference::network::Network;
use crate::inference::precision::Precision;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Fewest tiles of an image that are worth the transformed filters' way from memory: they are larger than the filters.
/// The choice is not made by the size of a batch, or an image's logits would depend on its company.
const FEWEST_TILES: usize = 3;

/// Output positions that a measurement takes, about, and the most panels of output channels: a fraction of a millisecond.
const POSITIONS: usize = 128;
const PANELS: usize = 2;

/// All layers are gone through so often, each time with so many runs of a candidate: another program that takes the core
/// away for a while should not meet all runs of one.
const PASSES: usize = 3;
const RUNS: usize = 2;

/// So much of a better-ranked candidate's cost, or of wider numbers', may another have at most to be preferred: a difference that
/// comes and goes decides nothing.
const MARGIN: f64 = 0.9;

/// The numbers that a network asked for in `precision` may be kept in, the widest first.
fn storages(precision: Precision) -> &'static [Precision] {
    match precision {
        Precision::F32 => &[Precision::F32],
        Precision::Bf16 => &[Precision::F32, Precision::Bf16],
        Precision::Int8 => &[Precision::F32, Precision::Int8],
    }
}

/// Which of `costs` to take: the first, unless a later one is clearly lower than the best before it. `None` of none.
///
/// So none before the one taken costs less, none at all costs less than nine tenths of it, and more to choose from never makes
/// it dearer.
pub(in crate::inference) fn cheapest(costs: impl IntoIterator<Item = f64>) -> Option<usize> {
    let better = |best: (usize, f64), next: (usize, f64)| if next.1 < MARGIN * best.1 { next } else { best };
    costs.into_iter().enumerate().reduce(better).map(|(index, _)| index)
}

/// What a layer's cost depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    pub(super) kernel: usize,
    pub(super) stride: usize,
    /// Channels in, padding included.
    pub(super) inputs: usize,
    /// Channels out.
    pub(super) outputs: usize,
    pub(super) input: Plane,
}

impl Kind {
    /// Edge of Winograd's tiles with these instructions, `wanted` at most; `None` where it does not pay or does not exist.
    /// That is a rule and not measured, because the last bits depend on it.
    pub(super) fn edge(&self, precision: Precision, isa: Isa, wanted: usize) -> Option<usize> {
        let exists = precision != Precision::Int8 && isa.has_winograd();
        let suits = self.kernel == 3 && self.stride == 1 && self.inputs >= 32;
        if !exists || !suits {
            return None;
        }
        let tiles = |edge: usize| self.input.height.div_ceil(edge - 2) * self.input.width.div_ceil(edge - 2);
        [6, 4].into_iter().filter(|edge| *edge <= wanted).find(|edge| tiles(*edge) >= FEWEST_TILES)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, stride, inputs, outputs, input } = self;
        write!(f, "{kernel}x{kernel}/{stride} {inputs}->{outputs} at {}x{}", input.height, input.width)
    }
}

/// Instructions for each layer of a network.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    /// The numbers that activations and weights are kept in: f32 where that is faster than what was asked for.
    pub(super) storage: Precision,
    /// For layers without a row.
    isa: Isa,
    rows: Vec<Row>,
}

/// The costs of the layers of one kind.
#[derive(Debug, Clone)]
struct Row {
    kind: Kind,
    layers: usize,
    isa: Isa,
    /// What an image costs, in nanoseconds on one thread, by candidate.
    costs: Vec<(Isa, f64)>,
}

impl Row {
    fn cost(&self) -> f64 {
        self.costs.iter().find(|(isa, _)| *isa == self.isa).map_or(0.0, |(_, cost)| *cost)
    }
}

impl Choice {
    /// The instructions to compute `network` with.
    ///
    /// # Errors
    /// What is wrong, as the rest of a sentence: the processor lacks the instructions asked for, or int8 a range.
    pub(super) fn new(network: &Network, options: &Options) -> Result<Self, String> {
        match options.isa {
            Some(isa) => Ok(Self::only(pinned(options.precision, isa)?, isa)),
            None => Self::measured(network, options),
        }
    }

    /// As [`Choice::new`], but measured even where the options leave no choice.
    ///
    /// # Errors
    /// As [`Choice::new`].
    pub(super) fn measured(network: &Network, options: &Options) -> Result<Self, String> {
        let storages = match options.isa {
            Some(isa) => vec![pinned(options.precision, isa)?],
            None => storages(options.precision).to_vec(),
        };
        // What is asked for has to be possible, even where f32 is chosen: int8 needs its ranges.
        Plan::kinds(network, options.precision, options)?;
        let mut races = Vec::new();
        for storage in storages {
            let vectors = Isa::ALL.into_iter().rev().filter(|isa| *isa != Isa::Portable);
            let candidates: Vec<Isa> = match options.isa {
                Some(isa) => vec![isa],
                None => vectors.filter(|isa| isa.supports(storage)).collect(),
            };
            if !candidates.is_empty() {
                let kinds = Plan::kinds(network, storage, options)?;
                races.push(Race { storage, kinds, candidates, edge: options.edge });
            }
        }
        let mut choices = measure(&races);
        Ok(match cheapest(choices.iter().map(Self::cost)) {
            Some(index) => choices.swap_remove(index),
            None => Self::only(options.precision, Isa::Portable),
        })
    }

    fn only(storage: Precision, isa: Isa) -> Self {
        Self { storage, isa, rows: vec![] }
    }

    /// The instructions for a layer.
    pub(super) fn isa(&self, kind: &Kind) -> Isa {
        self.rows.iter().find(|row| row.kind == *kind).map_or(self.isa, |row| row.isa)
    }

    /// What the layers cost for an image, in nanoseconds on one thread; 0 where nothing was measured.
    fn cost(&self) -> f64 {
        self.rows.iter().map(|row| row.layers as f64 * row.cost()).sum()
    }

    /// As [`Choice::cost`], where something was measured.
    pub(super) fn time(&self) -> Option<Duration> {
        (!self.rows.is_empty()).then(|| Duration::from_secs_f64(self.cost() / 1e9))
    }

    /// The measured costs, a line for each kind of layer.
    pub(super) fn table(&self) -> Vec<String> {
        let line = |row: &Row| {
            let costs = row.costs.iter().map(|(isa, cost)| format!(" {isa} {:.1}", cost / 1e3));
            format!(
                "{} {} x{}: {},{} us",
                self.storage,
                row.kind,
                row.layers,
                row.isa,
                costs.collect::<String>()
            )
        };
        self.rows.iter().map(line).collect()
    }
}

/// "f32 by avx512", "int8 by amx, avx512": what the numbers are kept in, and what they are computed with.
impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut isas: BTreeSet<Isa> = self.rows.iter().map(|row| row.isa).collect();
        if isas.is_empty() {
            isas.insert(self.isa);
        }
        let names: Vec<&str> = isas.into_iter().rev().map(Isa::name).collect();
        write!(f, "{} by {}", self.storage, names.join(", "))
    }
}

/// The numbers for `precision` where only `isa` may compute: the narrowest that it has.
///
/// # Errors
/// As the rest of a sentence: there are none.
fn pinned(precision: Precision, isa: Isa) -> Result<Precision, String> {
    let storage = storages(precision).iter().rfind(|storage| isa.supports(**storage));
    storage.copied().ok_or_else(|| format!("cannot be computed in with {isa} on this processor"))
}

/// What has been measured in this process.
type Memory = HashMap<Key, Measured>;

/// The costs of a layer with some of its panels of output channels, in nanoseconds an image.
#[derive(Debug, Clone, Copy)]
struct Measured {
    /// The part that is the same for any number of panels: Winograd's transform of the input.
    once: f64,
    /// All, this part included.
    together: f64,
    /// So many times as many panels has the layer.
    more: f64,
}

impl Measured {
    /// The cost with all panels.
    fn all(self) -> f64 {
        self.once + (self.together - self.once).max(0.0) * self.more
    }

    /// The best of two measurements. A disturbance makes each figure larger, but `once` must not seem large while `together`
    /// does not, so that each counts by itself.
    fn best(self, other: Self) -> Self {
        Self { once: self.once.min(other.once), together: self.together.min(other.together), ..self }
    }
}

/// The cost that is known of, or none that could win.
fn known(memory: &Memory, key: &Key) -> f64 {
    memory.get(key).map_or(f64::INFINITY, |measured| measured.all())
}

type Key = (Kind, Precision, Option<usize>, Isa);

/// The layers of a network in one kind of numbers, and who may compute them.
struct Race {
    storage: Precision,
    kinds: Vec<Kind>,
    candidates: Vec<Isa>,
    edge: usize,
}

impl Race {
    fn keys(&self, kind: &Kind) -> Vec<Key> {
        let key = |isa: &Isa| (*kind, self.storage, kind.edge(self.storage, *isa, self.edge), *isa);
        self.candidates.iter().map(key).collect()
    }

    /// The choice, when all costs are known.
    fn decide(&self, memory: &Memory) -> Choice {
        let mut rows: Vec<Row> = Vec::new();
        for kind in &self.kinds {
            if let Some(row) = rows.iter_mut().find(|row| row.kind == *kind) {
                row.layers += 1;
                continue;
            }
            let cost = |key: &Key| (key.3, known(memory, key));
            let costs: Vec<_> = self.keys(kind).iter().map(cost).collect();
            rows.push(Row { kind: *kind, layers: 1, isa: fastest(&costs), costs });
        }
        let isa = self.candidates.first().copied().unwrap_or(Isa::Portable);
        Choice { storage: self.storage, isa, rows }
    }
}

/// The choice of each race. The log tells what was measured for it, unless all was known.
fn measure(races: &[Race]) -> Vec<Choice> {
    // Not of one model: the costs are the processor's, and models of one process should not differ by chance.
    static MEMORY: Mutex<Option<Memory>> = Mutex::new(None);
    let mut memory = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    let memory = memory.get_or_insert_default();
    let began = Instant::now();
    let mut unknown: Vec<Vec<Key>> = Vec::new();
    for keys in races.iter().flat_map(|race| race.kinds.iter().map(|kind| race.keys(kind))) {
        if !unknown.contains(&keys) && keys.iter().any(|key| !memory.contains_key(key)) {
            unknown.push(keys);
        }
    }
    let mut bench = Bench::default();
    for pass in 0..PASSES {
        for keys in &unknown {
            let leader = keys.iter().map(|key| known(memory, key)).fold(f64::INFINITY, f64::min);
            // Who is far behind after a pass will not win.
            let ahead = keys.iter().filter(|key| pass == 0 || known(memory, key) < 1.5 * leader);
            let ahead: Vec<&Key> = ahead.collect();
            for _ in 0..RUNS {
                for key in &ahead {
                    let now = bench.run(key);
                    memory.entry(**key).and_modify(|best| *best = best.best(now)).or_insert(now);
                }
            }
        }
    }
    let choices: Vec<Choice> = races.iter().map(|race| race.decide(memory)).collect();
    if !unknown.is_empty() {
        tracing::info!(kinds = unknown.len(), milliseconds = began.elapsed().as_millis(), "kernels measured");
        let layers = choices.iter().flat_map(Choice::table);
        layers.for_each(|layer| tracing::debug!(layer, "cost of a kind of layer"));
    }
    choices
}

/// The fastest of candidates that come by rank.
fn fastest(costs: &[(Isa, f64)]) -> Isa {
    cheapest(costs.iter().map(|(_, cost)| *cost)).map_or(Isa::Portable, |index| costs[index].0)
}

/// Memory for measurements.
#[derive(Default)]
struct Bench {
    input: Words,
    weights: Words,
    output: Words,
    scratch: WinogradScratch,
}

impl Bench {
    /// What an image costs: one run over a part of it, or over some where they are small.
    fn run(&mut self, &(ref kind, precision, edge, isa): &Key) -> Measured {
        /// About 1 in f32 and in bf16.
        const ONES: u32 = 0x3f80_3f80;
        let (inputs, unit) = (kind.inputs, precision.unit());
        let whole = kind.input.strided(kind.stride, 1);
        let height = POSITIONS.div_ceil(whole.width.max(1)).next_multiple_of(4).min(whole.height);
        let images = (POSITIONS / 2).div_ceil((height * whole.width).max(1));
        let panels = kind.outputs.div_ceil(PANEL);
        let measured = panels.min(PANELS);
        let input = Plane { height: (height * kind.stride).min(kind.input.height), ..kind.input };
        let output_plane = input.strided(kind.stride, 1);
        let words = inputs / unit;
        let area = edge.map_or(kind.kernel * kind.kernel, |edge| edge * edge);
        self.input.grow(images * input.positions() * words, ONES);
        self.weights.grow(measured * area * words * PANEL, ONES);
        self.output.grow(images * output_plane.positions() * measured * PANEL / unit, 0);
        let bias = [0.0; PANELS * PANEL];
        let epilogue =
            Epilogue { scale: &[], bias: &bias, residual: Residual::None, relu: true, wide: false };
        let positions = Positions::new(input, output_plane, kind.kernel, kind.stride);
        let (from, weights) = (self.input.as_slice(), self.weights.as_slice());
        let output = self.output.as_mut_slice();
        let driver = &mut Driver::alone();
        let timed = |work: &mut dyn FnMut()| {
            let began = Instant::now();
            work();
            began.elapsed().as_secs_f64() * 1e9
        };
        let (once, together) = if let Some(edge) = edge {
            let job = Winograd {
                isa,
                precision,
                edge,
                input: from,
                input_plane: input,
                inputs,
                output_plane,
                images,
                weights,
                panels: measured,
                block: super::plan::block(inputs),
                epilogue,
            };
            let transform = Winograd { panels: 0, ..job };
            let once = timed(&mut || winograd(driver, &transform, &mut self.scratch, output));
            (once, timed(&mut || winograd(driver, &job, &mut self.scratch, output)))
        } else {
            let job = Job {
                isa,
                precision,
                input: from,
                input_words: words,
                positions: &positions,
                images,
                weights,
                panels: measured,
                epilogue,
            };
            (0.0, timed(&mut || conv(driver, &job, output)))
        };
        let each = whole.height.max(1) as f64 / (images * output_plane.height).max(1) as f64;
        let more = panels as f64 / measured.max(1) as f64;
        Measured { once: once * each, together: together * each, more }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_taken_is_dearer_than_none_before_it_and_hardly_than_any(
            costs in proptest::collection::vec(1.0_f64..1e9, 1..6), more in 1.0_f64..1e9, scale in 1e-3_f64..1e3
        ) {
            let taken = cheapest(costs.iter().copied()).expect("there is one");
            prop_assert!(costs[..taken].iter().all(|cost| *cost > costs[taken]));
            prop_assert!(costs.iter().all(|cost| *cost >= MARGIN * costs[taken]));
            prop_assert_eq!(cheapest(costs.iter().map(|cost| cost * scale)), Some(taken));
            let longer: Vec<f64> = costs.iter().copied().chain([more]).collect();
            let longer = longer[cheapest(longer.iter().copied()).expect("there is one")];
            prop_assert!(longer <= costs[taken], "so bf16 and int8 never cost more than f32");
        }
    }

    #[test]
    fn numbers_are_kept_in_what_is_asked_for_or_in_wider_ones() {
        for precision in Precision::ALL {
            assert_eq!(storages(precision).last(), Some(&precision));
            assert!(storages(precision).is_sorted());
            assert_eq!(storages(precision).first(), Some(&Precision::F32));
            assert_eq!(pinned(precision, Isa::Portable), Ok(precision));
        }
        assert_eq!(cheapest([]), None);
        assert_eq!(cheapest([f64::INFINITY; 2]), Some(0));
    }

    #[test]
    fn what_is_done_once_for_all_panels_counts_once() {
        let measured = |once, together| Measured { once, together, more: 4.0 };
        assert_eq!(measured(0.0, 5.0).all(), 20.0);
        assert_eq!(measured(3.0, 5.0).all(), 11.0);
        // Disturbances of either part are no gain.
        for (once, together) in [(4.5, 5.0), (3.0, 9.0), (9.0, 9.0), (4.9, 5.1)] {
            assert_eq!(measured(3.0, 5.0).best(measured(once, together)).all(), 11.0);
            assert_eq!(measured(once, together).best(measured(3.0, 5.0)).all(), 11.0);
        }
    }

    #[test]
    fn the_better_rank_wins_unless_it_is_clearly_slower() {
        let costs = |a: f64, b: f64| [(Isa::Avx512, a), (Isa::Avx2, b)];
        assert_eq!(fastest(&costs(100.0, 95.0)), Isa::Avx512);
        assert_eq!(fastest(&costs(100.0, 60.0)), Isa::Avx2);
        assert_eq!(fastest(&costs(60.0, 100.0)), Isa::Avx512);
    }

    #[test]
    fn winograd_is_for_enough_tiles_of_floats_on_vectors() {
        let plane = |edge| Plane { height: edge, width: edge, border: 1 };
        let kind = |edge| Kind { kernel: 3, stride: 1, inputs: 64, outputs: 64, input: plane(edge) };
        assert_eq!(kind(8).edge(Precision::F32, Isa::Avx2, 6), Some(6));
        assert_eq!(kind(4).edge(Precision::F32, Isa::Avx2, 6), Some(4), "one tile of six is too few");
        assert_eq!(kind(8).edge(Precision::F32, Isa::Avx2, 4), Some(4));
        assert_eq!(kind(8).edge(Precision::F32, Isa::Avx2, 0), None);
        assert_eq!(kind(8).edge(Precision::Int8, Isa::Avx512, 6), None);
        assert_eq!(kind(8).edge(Precision::Bf16, Isa::Amx, 6), None);
        assert_eq!(kind(8).edge(Precision::F32, Isa::Portable, 6), None);
        assert_eq!(Kind { stride: 2, ..kind(8) }.edge(Precision::F32, Isa::Avx2, 6), None);
    }
}
