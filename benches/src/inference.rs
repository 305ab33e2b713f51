//! The model in every precision beside candle's own operations, PyTorch and ONNX Runtime, in one run on the same cores.
//!
//! All get the same pixels, u8 `[batch, 32, 32, 3]`, and give logits: normalisation is part of the work, decoding is not.
//! They take turns, round by round, each for some seconds. PyTorch and ONNX Runtime are run by
//! `benches/peers/inference.py` in a Python of their own, which answers a line with a line. On a GPU the model is alone: the
//! others compute on the processor.

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use firesteel_pipeline::dataset::Dataset;
use firesteel_pipeline::inference::compiled::{Compiled, Isa, Options, peak};
use firesteel_pipeline::inference::{
    Device, Error, Model, Network, PlainResNet, Precision, Weights, auto, compile, samples,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::process::Command;

use crate::server_process::ServerProcess;
use crate::statistics::quantile;
use crate::target::{self, Target};

/// Images that passes are taken from, in turn.
const IMAGES: usize = 1_024;
/// At this batch size the targets are set.
const TARGET_BATCH: usize = 64;
/// A precision is to have so much of a wider one's rate: what is missing to all of it comes and goes between rounds.
const TARGET_OF_WIDER: f64 = 0.95;
/// Images a second that bf16 is to reach on a GPU.
const TARGET_ON_GPU: f64 = 10_000.0;

#[derive(Debug, Args)]
pub(crate) struct InferenceArgs {
    /// What the model computes on: cpu, or, in a build with feature cuda, cuda or cuda:INDEX
    #[arg(long, value_name = "DEVICE", default_value_t = Device::Cpu)]
    device: Device,
    /// Images at once
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,16,64,256",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    batches: Vec<u16>,
    /// Rounds that count, after one that warms up
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// How long each is measured, in each round and at each batch size
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    seconds: f64,
    /// A Python with PyTorch and ONNX Runtime (`dev/peers env inference` names one); without it they are left out
    #[arg(long, value_name = "FILE", env = "FIRESTEEL_BENCH_INFERENCE_PYTHON")]
    python: Option<PathBuf>,
    /// The script that it runs
    #[arg(long, value_name = "FILE", default_value = "benches/peers/inference.py")]
    script: PathBuf,
    /// Also writes everything as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Who takes part.
enum System {
    Ours(Box<dyn Model>),
    Peer(String),
}

/// Images a second, by system and batch size, a figure a round.
type Rates = BTreeMap<(String, usize), Vec<f64>>;

pub(crate) async fn run(args: &InferenceArgs) -> anyhow::Result<()> {
    let seconds = Duration::try_from_secs_f64(args.seconds).context("--seconds")?;
    let network = Network::read(Weights::shipped()?)?;
    let samples = samples(&network.info, &Dataset::load(None)?.first(IMAGES)?)?;
    let pixels: Vec<u8> = samples.iter().flat_map(|sample| sample.pixels.iter().copied()).collect();

    let mut systems: Vec<(String, System)> = Vec::new();
    for precision in Precision::ALL {
        match compile(&network, precision, args.device) {
            Ok(model) => systems.push((format!("firesteel {precision}"), System::Ours(model))),
            Err(error @ Error::Precision { .. }) => eprintln!("left out: {error}"),
            Err(error) => return Err(error.into()),
        }
    }
    let on_cpu = matches!(args.device, Device::Cpu | Device::CpuWith(_));
    if on_cpu {
        systems.push(("candle f32".to_owned(), System::Ours(Box::new(PlainResNet::new(&network)?))));
    }
    let mut peers = match &args.python {
        _ if !on_cpu => None,
        Some(python) => {
            let (peers, variants) = start_peers(python, &args.script).await?;
            for variant in variants {
                systems.push((variant.clone(), System::Peer(variant)));
            }
            Some(peers)
        }
        None => {
            eprintln!(
                "without PyTorch and ONNX Runtime: `dev/peers fetch inference` and `eval \"$(dev/peers env inference)\"` \
                 get them and name them"
            );
            None
        }
    };

    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{processors} processors, {} rounds after a warm-up, all in turn", args.rounds);
    let kernels = kernels(&network, &systems)?;
    let decision = auto::choose(&network, args.device)?;
    println!("--precision auto takes {}: {decision}\n", decision.precision);
    let batches: Vec<usize> = args.batches.iter().copied().map(usize::from).collect();
    let mut rates = Rates::new();
    for round in 0..=args.rounds {
        eprintln!("round {round} of {}", args.rounds);
        for &batch in &batches {
            for (name, system) in &mut systems {
                // A signal is looked for between two measurements.
                tokio::task::yield_now().await;
                let rate = match system {
                    System::Ours(model) => own_rate(&mut **model, &pixels, batch, seconds)?,
                    System::Peer(variant) => match &mut peers {
                        Some(peers) => peer_rate(peers, variant, batch, args.seconds).await?,
                        None => bail!("nobody runs {variant}"),
                    },
                };
                // Round 0 is the warm-up.
                if round > 0 {
                    rates.entry((name.clone(), batch)).or_default().push(rate);
                }
            }
        }
    }

    let names: Vec<String> = systems.into_iter().map(|(name, _)| name).collect();
    println!("\nimages/s, medians\n{:<18}{}", "", columns(&batches, |batch| format!("batch {batch}")));
    for name in &names {
        println!("{name:<18}{}", columns(&batches, |batch| format!("{:.1}", median(&rates, name, batch))));
    }
    let operations = 2.0 * network.multiplications() as f64;
    let mut shares = Vec::new();
    for precision in Precision::ALL {
        let isa = Isa::detect(precision);
        let Some(peak) = peak(isa, precision, processors).filter(|_| on_cpu) else { continue };
        let name = format!("firesteel {precision}");
        // Where other numbers or instructions were chosen, that peak says nothing of them.
        let told = format!("{precision} by {isa}");
        if !kernels.get(&name).is_some_and(|kernels| kernels.starts_with(&told)) {
            continue;
        }
        let rate = median(&rates, &name, TARGET_BATCH);
        let share = rate * operations / peak;
        println!(
            "firesteel {precision}: {:.0} of the {:.0} GOP/s that a loop over registers reaches with {isa} on these cores, {:.0} %",
            rate * operations / 1e9,
            peak / 1e9,
            share * 100.0
        );
        shares.push(
            json!({ "precision": precision.name(), "instructions": isa.name(), "peak_operations_per_second": peak, "share": share }),
        );
    }
    let saved = "f32 and bf16 save most of them (Winograd), so they may pass the peak.";
    let note = if on_cpu { saved } else { "On a GPU none is saved." };
    println!("An image is {:.3} billion multiplications. {note}", operations / 2e9);
    let targets = if on_cpu {
        [targets(&rates, &names), targets_of_wider(&rates)].concat()
    } else {
        vec![target_on_gpu(&rates, &batches)]
    };
    print!("{}", target::text(&targets)?);
    if let Some(path) = &args.json {
        let rate = |((name, batch), rounds): (&(String, usize), &Vec<f64>)| json!({ "name": name, "batch": batch, "median": quantile(rounds, 0.5), "images_per_second": rounds });
        let all = json!({
            "device": args.device.to_string(), "processors": processors, "rounds": args.rounds, "seconds": args.seconds,
            "peers": peers.as_ref().map_or(&Value::Null, |peers| &peers.ready), "rates": rates.iter().map(rate).collect::<Vec<_>>(),
            "kernels": kernels, "auto": json!({ "precision": decision.precision.name(), "reason": decision.to_string() }), "peaks": shares, "goals": targets.iter().map(Target::json).collect::<Vec<_>>(),
        });
        std::fs::write(path, serde_json::to_string_pretty(&all)? + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Prints what each model is computed with, and the costs that decided; the former for the JSON.
fn kernels(network: &Network, systems: &[(String, System)]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for (name, system) in systems {
        let System::Ours(model) = system else { continue };
        let kernels = model.kernels();
        if !kernels.is_empty() {
            println!("{name}: {kernels}");
            all.insert(name.clone(), kernels);
        }
    }
    println!(
        "\nlayers, instructions chosen, and what an image costs with each on one thread, in microseconds"
    );
    for precision in Precision::ALL {
        // The costs are known: they were measured for the models above.
        for line in Compiled::new(network, Options::new(precision))?.costs() {
            println!("  {precision}: {line}");
        }
    }
    println!();
    Ok(all)
}

/// Runs a model for `seconds`; images a second.
fn own_rate(model: &mut dyn Model, pixels: &[u8], batch: usize, seconds: Duration) -> anyhow::Result<f64> {
    let image = model.info().image_len();
    let mut batches = pixels.chunks_exact(batch * image).cycle();
    let mut pass = || -> anyhow::Result<()> {
        let logits = model.forward(batches.next().context("no images")?)?;
        ensure!(!logits.is_empty(), "no logits");
        Ok(())
    };
    // What a first pass allocates is not what is measured.
    pass()?;
    let (began, mut images) = (Instant::now(), 0);
    while began.elapsed() < seconds {
        pass()?;
        images += batch;
    }
    Ok(images as f64 / began.elapsed().as_secs_f64())
}

/// PyTorch and ONNX Runtime, and the variants of them that it names.
async fn start_peers(python: &Path, script: &Path) -> anyhow::Result<(ServerProcess, Vec<String>)> {
    eprintln!("starting PyTorch and ONNX Runtime, and quantising for the latter");
    let mut command = Command::new(python);
    command.arg(script).arg("--serve");
    let peers = ServerProcess::start("PyTorch and ONNX Runtime", command).await?;
    let named = peers.ready["variants"].as_array().context("no variants")?;
    let variants = named.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect();
    Ok((peers, variants))
}

/// Has a peer run a variant for `seconds`; images a second.
async fn peer_rate(
    peers: &mut ServerProcess,
    variant: &str,
    batch: usize,
    seconds: f64,
) -> anyhow::Result<f64> {
    let answer = peers.ask(&format!("{variant} {batch} {seconds}")).await?;
    let figure = |name: &str| answer[name].as_f64().with_context(|| format!("{variant} told no {name}"));
    Ok(figure("images")? / figure("seconds")?)
}

fn columns(batches: &[usize], cell: impl Fn(usize) -> String) -> String {
    batches.iter().map(|&batch| format!("{:>12}", cell(batch))).collect()
}

fn median(rates: &Rates, name: &str, batch: usize) -> f64 {
    rates.get(&(name.to_owned(), batch)).map_or(0.0, |rounds| quantile(rounds, 0.5))
}

/// What was asked for, against the better of the peers in the same precision.
fn targets(rates: &Rates, names: &[String]) -> Vec<Target> {
    let mut targets = Vec::new();
    for (ours, peers) in [
        ("f32", &["torch-fp32", "onnx-fp32"][..]),
        ("bf16", &["torch-bf16"][..]),
        ("int8", &["onnx-int8"][..]),
    ] {
        for (batch, wanted) in [(TARGET_BATCH, 1.1), (1, 1.0)] {
            let there = peers.iter().filter(|peer| names.iter().any(|name| name == *peer));
            let best =
                there.map(|peer| (median(rates, peer, batch), peer)).max_by(|a, b| a.0.total_cmp(&b.0));
            let Some((best, peer)) = best.filter(|(best, _)| *best > 0.0) else { continue };
            let what = format!("{ours} against {peer} at batch {batch}");
            let ratio = median(rates, &format!("firesteel {ours}"), batch) / best;
            targets.push(Target::at_least(what, wanted, ratio).unit("x"));
        }
    }
    targets
}

/// No precision may be slower than a wider one.
fn targets_of_wider(rates: &Rates) -> Vec<Target> {
    let rate = |precision: Precision| median(rates, &format!("firesteel {precision}"), TARGET_BATCH);
    let pairs = Precision::ALL.into_iter().flat_map(|narrow| {
        Precision::ALL.into_iter().filter(move |wide| *wide < narrow).map(move |wide| (narrow, wide))
    });
    let target = |(narrow, wide): (Precision, Precision)| {
        let what = format!("{narrow} against {wide} at batch {TARGET_BATCH}");
        let ratio = rate(narrow) / rate(wide);
        (ratio.is_finite() && ratio > 0.0).then(|| Target::at_least(what, TARGET_OF_WIDER, ratio).unit("x"))
    };
    pairs.filter_map(target).collect()
}

/// What was asked for on a GPU, at the batch that is fastest.
fn target_on_gpu(rates: &Rates, batches: &[usize]) -> Target {
    let best = batches.iter().map(|&batch| median(rates, "firesteel bf16", batch)).fold(0.0, f64::max);
    Target::at_least("bf16 on a GPU".to_owned(), TARGET_ON_GPU, best).unit("images/s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_compare_with_the_better_peer_that_is_there() {
        let mut rates = Rates::new();
        for (name, rate) in [("firesteel f32", 220.0), ("torch-fp32", 100.0), ("onnx-fp32", 200.0)] {
            rates.insert((name.to_owned(), 64), vec![rate]);
        }
        let names: Vec<String> = ["firesteel f32", "torch-fp32", "onnx-fp32"].map(str::to_owned).into();
        let targets = targets(&rates, &names);
        assert_eq!(targets.len(), 1, "{targets:?}");
        assert!(targets[0].what.contains("onnx-fp32") && (targets[0].measured - 1.1).abs() < 1e-9);
    }

    #[test]
    fn a_precision_is_held_against_each_wider_one() {
        let mut rates = Rates::new();
        for (name, rate) in [("firesteel f32", 200.0), ("firesteel bf16", 400.0), ("firesteel int8", 300.0)] {
            rates.insert((name.to_owned(), TARGET_BATCH), vec![rate]);
        }
        let met: Vec<(String, bool)> =
            targets_of_wider(&rates).into_iter().map(|target| (target.what, target.met)).collect();
        let expected = [
            ("bf16 against f32 at batch 64", true),
            ("int8 against f32 at batch 64", true),
            ("int8 against bf16 at batch 64", false),
        ];
        assert_eq!(met, expected.map(|(what, met)| (what.to_owned(), met)));
        assert!(targets_of_wider(&Rates::new()).is_empty());
    }

    #[test]
    fn the_target_on_a_gpu_is_for_the_fastest_batch() {
        let mut rates = Rates::new();
        for (batch, rate) in [(64, 9_000.0), (256, 12_000.0)] {
            rates.insert(("firesteel bf16".to_owned(), batch), vec![rate]);
        }
        assert!(target_on_gpu(&rates, &[64, 256]).met);
        assert!(!target_on_gpu(&rates, &[64]).met);
    }
}
