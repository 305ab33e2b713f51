//! From figures a core to cores, pods, partitions, brokers, shards and executors. Each line is one division, rounded up.

use clap::{Args, Command};

use super::{markdown, number};

/// Kafka's own advice: a few thousand partitions a broker, with their replicas.
const PARTITIONS_PER_BROKER: f64 = 4000.0;

/// Rates are a second. What is said of an input is where its default comes from.
#[derive(Args, Clone, Debug)]
pub(super) struct Inputs {
    /// images/s a core; measured: the demo's 364 images/s in f32 on two cores, everything else on the same cores
    #[arg(long, value_name = "N", default_value_t = 182.0, value_parser = positive)]
    pub(super) inference_per_core: f64,
    /// documents/s a core; measured: `firesteel seed`, 150,000 documents/s on two cores, inserts
    #[arg(long, value_name = "N", default_value_t = 75_000.0, value_parser = positive)]
    pub(super) writes_per_core: f64,
    /// documents/s a core; measured: the report with pushdown, 5,000,000 documents in 4.35 s on two cores
    #[arg(long, value_name = "N", default_value_t = 575_000.0, value_parser = positive)]
    pub(super) scan_per_core: f64,
    /// how busy what computes may be on average
    #[arg(long, value_name = "SHARE", default_value_t = 0.7, value_parser = share)]
    pub(super) utilisation: f64,
    /// bytes an image; measured: the data set's size over its 10,000 images
    #[arg(long, value_name = "BYTES", default_value_t = 933.0, value_parser = positive)]
    pub(super) image_bytes: f64,
    /// as in overlays/production
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) cores_per_inference_pod: u32,
    /// image consumers an inference pod
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) consumers_per_inference_pod: u32,
    /// partitions of the images a consumer, so that there is room for more consumers
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) partitions_per_consumer: u32,
    /// copies in Kafka
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) replication: u32,
    /// MB/s that a broker takes in, copies included; assumed: measure yours
    #[arg(long, value_name = "MB", default_value_t = 100.0, value_parser = positive)]
    pub(super) megabytes_per_broker: f64,
    /// cores of a shard's primary
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) cores_per_shard: u32,
    /// slots an executor, as in overlays/production
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) executor_cores: u32,
    /// how much a report is over
    #[arg(long, value_name = "H", default_value_t = 1.0, value_parser = positive)]
    pub(super) report_hours: f64,
    /// how long it may take
    #[arg(long, value_name = "S", default_value_t = 60.0, value_parser = positive)]
    pub(super) report_seconds: f64,
}

/// A number above 0.
pub(super) fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if value > 0.0 && f64::is_finite(value) => Ok(value),
        _ => Err("has to be a number above 0".to_owned()),
    }
}

/// A number above 0 and at most 1.
fn share(text: &str) -> Result<f64, String> {
    positive(text).and_then(|value| if value <= 1.0 { Ok(value) } else { Err("is at most 1".to_owned()) })
}

impl Inputs {
    /// The name, the value and the help of each.
    pub(super) fn told(&self) -> Vec<(String, f64, String)> {
        let values = [
            self.inference_per_core,
            self.writes_per_core,
            self.scan_per_core,
            self.utilisation,
            self.image_bytes,
            self.cores_per_inference_pod.into(),
            self.consumers_per_inference_pod.into(),
            self.partitions_per_consumer.into(),
            self.replication.into(),
            self.megabytes_per_broker,
            self.cores_per_shard.into(),
            self.executor_cores.into(),
            self.report_hours,
            self.report_seconds,
        ];
        // Clap has the arguments in the order of the fields, and their help.
        let command = Self::augment_args(Command::new("inputs"));
        let told = |(argument, value): (&clap::Arg, f64)| {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            (argument.get_long().unwrap_or_default().to_owned(), value, help)
        };
        command.get_arguments().zip(values).map(told).collect()
    }
}

/// What a rate needs, and what it makes. Counts are whole numbers, from 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) rate: f64,
    pub(super) inference_cores: f64,
    pub(super) inference_pods: f64,
    pub(super) consumers: f64,
    pub(super) partitions: f64,
    pub(super) brokers: f64,
    pub(super) shards: f64,
    pub(super) report_documents: f64,
    pub(super) report_cores: f64,
    pub(super) executors: f64,
    pub(super) megabytes: f64,
    /// Images a second that the inference pods can name.
    pub(super) capacity: f64,
}

impl Plan {
    /// The least of everything that takes `rate` images a second at the wanted utilisation.
    pub(super) fn of(rate: f64, inputs: &Inputs) -> Self {
        let Inputs { utilisation, replication, .. } = *inputs;
        let cores_per_pod = f64::from(inputs.cores_per_inference_pod);
        let replication = f64::from(replication);
        let inference_cores = up(rate / (inputs.inference_per_core * utilisation));
        let inference_pods = up(inference_cores / cores_per_pod);
        // A consumer keeps one connection, so it uses one inference pod; a partition is read by one consumer.
        let consumers = inference_pods * f64::from(inputs.consumers_per_inference_pod);
        // A multiple of the consumers, or some of them would have one partition more than others, and with it more to do.
        let partitions = consumers * f64::from(inputs.partitions_per_consumer);
        let megabytes = rate * inputs.image_bytes / 1e6;
        let by_bytes = up(megabytes * replication / (inputs.megabytes_per_broker * utilisation));
        // Both topics have as many.
        let by_partitions = up(2.0 * partitions * replication / PARTITIONS_PER_BROKER);
        let report_documents = rate * inputs.report_hours * 3600.0;
        let report_cores = up(report_documents / (inputs.scan_per_core * inputs.report_seconds));
        Self {
            rate,
            inference_cores,
            inference_pods,
            consumers,
            partitions,
            brokers: replication.max(by_bytes).max(by_partitions),
            shards: up(rate / (inputs.writes_per_core * f64::from(inputs.cores_per_shard) * utilisation)),
            report_documents,
            report_cores,
            executors: up(report_cores / f64::from(inputs.executor_cores)),
            megabytes,
            capacity: inference_pods * cores_per_pod * inputs.inference_per_core,
        }
    }
}

fn up(number: f64) -> f64 {
    // A hair above a whole number is rounding's doing.
    ((number * 1e9).round() / 1e9).ceil().max(1.0)
}

pub(super) fn table(plans: &[Plan]) -> String {
    type Column = fn(&Plan) -> f64;
    let rows: [(&str, Column); 11] = [
        ("images/s", |plan| plan.rate),
        ("inference: cores", |plan| plan.inference_cores),
        ("inference: pods", |plan| plan.inference_pods),
        ("image consumers", |plan| plan.consumers),
        ("partitions of each topic", |plan| plan.partitions),
        ("images in Kafka, MB/s", |plan| plan.megabytes),
        ("Kafka brokers", |plan| plan.brokers),
        ("MongoDB shards", |plan| plan.shards),
        ("documents a report reads", |plan| plan.report_documents),
        ("cores for a report in time", |plan| plan.report_cores),
        ("executors", |plan| plan.executors),
    ];
    let row = |(title, column): (&str, Column)| {
        std::iter::once(title.to_owned()).chain(plans.iter().map(|plan| number(column(plan)))).collect()
    };
    markdown(&rows.map(row))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What the command line has by default.
    pub(in super::super) fn defaults() -> Inputs {
        use clap::FromArgMatches as _;
        let command = Inputs::augment_args(Command::new("inputs"));
        Inputs::from_arg_matches(&command.get_matches_from(["inputs"])).expect("defaults")
    }

    /// Round numbers: 100 images/s a core, pods of 4 cores, half of which may be busy.
    pub(in super::super) fn round() -> Inputs {
        Inputs {
            inference_per_core: 100.0,
            writes_per_core: 1_000.0,
            scan_per_core: 100_000.0,
            utilisation: 0.5,
            image_bytes: 1_000.0,
            megabytes_per_broker: 20.0,
            cores_per_shard: 2,
            ..defaults()
        }
    }

    #[test]
    fn by_hand() {
        let found = Plan::of(10_000.0, &round());
        let expected = Plan {
            rate: 10_000.0,
            inference_cores: 200.0, // 10,000 / (100 x 0.5)
            inference_pods: 50.0,
            consumers: 50.0,
            partitions: 200.0,
            brokers: 3.0, // 10 x 3 / (20 x 0.5)
            shards: 10.0, // 10,000 / (1,000 x 2 x 0.5)
            report_documents: 36_000_000.0,
            report_cores: 6.0, // 36,000,000 / (100,000 x 60)
            executors: 2.0,
            megabytes: 10.0,
            capacity: 20_000.0,
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn there_is_at_least_one_of_each_and_as_many_brokers_as_copies() {
        let found = Plan::of(0.1, &round());
        let least =
            [found.inference_cores, found.inference_pods, found.consumers, found.shards, found.executors];
        assert_eq!((least, found.brokers), ([1.0; 5], 3.0));
    }

    #[test]
    fn many_partitions_need_brokers_too() {
        // 5,000,000 images/s: 25,000 pods and consumers, 100,000 partitions, in two topics and three copies.
        let inputs = Inputs { megabytes_per_broker: 1e6, ..round() };
        assert_eq!(Plan::of(5_000_000.0, &inputs).brokers, 150.0);
    }

    #[test]
    fn twice_the_rate_needs_no_less_of_anything() {
        let plans = [10.0, 1_000.0, 2_000.0, 100_000.0, 10_000_000.0].map(|rate| Plan::of(rate, &defaults()));
        for pair in plans.windows(2) {
            let figures = |plan: &Plan| {
                [
                    plan.inference_cores,
                    plan.inference_pods,
                    plan.consumers,
                    plan.partitions,
                    plan.brokers,
                    plan.shards,
                    plan.report_cores,
                    plan.executors,
                    plan.capacity,
                ]
            };
            assert!(
                figures(&pair[0]).iter().zip(figures(&pair[1])).all(|(less, more)| *less <= more),
                "{pair:?}"
            );
        }
    }

    #[test]
    fn every_input_is_told_with_its_own_value() {
        let told = round().told();
        assert_eq!(told.len(), 14);
        let of = |name: &str| told.iter().find(|(told, ..)| told == name).expect("an input").1;
        assert_eq!((of("image-bytes"), of("cores-per-shard"), of("report-seconds")), (1_000.0, 2.0, 60.0));
    }
}
