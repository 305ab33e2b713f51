//! Three brokers in KRaft mode, each controller too, with three copies of everything, of which two have to acknowledge.
//!
//! A broker has four listeners. `CLIENT` tells its clients the address of a proxy, so that faults of the network reach
//! everybody who uses it. `HARNESS` is the oracle's own, `INTER` joins the brokers, and `CONTROLLER` the controllers.

use super::{MEMBERS, UP_WITHIN};
use crate::ports::Ports;
use crate::process::{Process, Spec};
use crate::proxy::Proxy;
use anyhow::{Context as _, bail, ensure};
use firesteel_pipeline::kafka::{KafkaConfig, check};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// A broker of a test needs little; three of them share the machine with everything else.
const HEAP: [&str; 3] = ["-Xms64m", "-Xmx320m", "-XX:+ExitOnOutOfMemoryError"];
/// 16 bytes in URL-safe base64, as Kafka names a cluster.
const CLUSTER: &str = "ZmlyZXN0ZWVsLWNoYW9zMQ";

/// The addresses of one broker.
#[derive(Debug, Clone, Copy)]
struct Addresses {
    client: SocketAddr,
    proxy: SocketAddr,
    harness: SocketAddr,
    inter: SocketAddr,
    controller: SocketAddr,
}

/// The running cluster.
#[derive(Debug)]
pub(crate) struct Kafka {
    pub(crate) brokers: Vec<Process>,
    /// In front of the brokers, in their order.
    pub(crate) proxies: Vec<Proxy>,
    /// What the roles are told.
    pub(crate) bootstrap: String,
    /// How the harness reaches it.
    pub(crate) harness: KafkaConfig,
}

impl Kafka {
    /// Formats the folders and makes the proxies; nothing runs yet.
    pub(super) async fn new(
        java: &[String],
        folder: &Path,
        ports: &mut Ports,
        marker: &(String, String),
    ) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        for _ in 0..MEMBERS {
            all.push(Addresses {
                client: ports.free()?,
                proxy: ports.free()?,
                harness: ports.free()?,
                inter: ports.free()?,
                controller: ports.free()?,
            });
        }
        let (mut brokers, mut proxies, mut formats) = (Vec::new(), Vec::new(), Vec::new());
        let [program, arguments @ ..] = java else { bail!("dev/services paths names no Java") };
        for (index, own) in all.iter().enumerate() {
            let name = format!("broker-{}", index + 1);
            let data = folder.join("data").join(&name);
            std::fs::create_dir_all(&data)?;
            let path = folder.join(format!("{name}.properties"));
            std::fs::write(&path, properties(index, &all, &data))?;
            let path = path.to_string_lossy().into_owned();
            let mut format = tokio::process::Command::new(program);
            format.args(arguments).args([
                "-XX:TieredStopAtLevel=1",
                "-Xmx128m",
                "kafka.tools.StorageTool",
                "format",
            ]);
            format.args(["--cluster-id", CLUSTER, "--config", &path]).kill_on_drop(true);
            format.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            formats.push(format.output());
            let heap = HEAP.map(str::to_owned);
            brokers.push(Process::new(Spec {
                folder: folder.to_owned(),
                log: folder.join(format!("logs/{name}.log")),
                name,
                program: PathBuf::from(program),
                arguments: [arguments, &heap, &["kafka.Kafka".to_owned(), path]].concat(),
                environment: vec![marker.clone()],
                health: None,
            }));
            proxies.push(Proxy::start(own.proxy, vec![own.client]).await?);
        }
        for formatted in futures::future::join_all(formats).await {
            let formatted = formatted.context("Kafka's storage tool")?;
            let said = String::from_utf8_lossy(&formatted.stderr);
            ensure!(formatted.status.success(), "Kafka cannot format a folder: {said}");
        }
        let list = |of: fn(&Addresses) -> SocketAddr| {
            all.iter().map(|own| of(own).to_string()).collect::<Vec<_>>().join(",")
        };
        let harness = KafkaConfig::new(list(|own| own.harness));
        Ok(Self { brokers, proxies, bootstrap: list(|own| own.proxy), harness })
    }

    /// Starts the brokers and waits until all have found each other.
    pub(super) async fn up(&mut self) -> anyhow::Result<()> {
        for broker in &self.brokers {
            broker.start()?;
        }
        let deadline = Instant::now() + UP_WITHIN;
        while self.members().await != MEMBERS {
            if let Some(broker) = self.brokers.iter().find(|broker| broker.id().is_none()) {
                bail!("{} ended while it was starting: {}", broker.spec.name, broker.spec.log.display());
            }
            ensure!(Instant::now() < deadline, "Kafka does not serve after {UP_WITHIN:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        check(&self.harness, "chaos").await.context("Kafka")
    }

    /// How many brokers the cluster has at the moment, as the first says that answers.
    pub(crate) async fn members(&self) -> usize {
        let bootstrap = self.harness.bootstrap.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let client: BaseConsumer =
                ClientConfig::new().set("bootstrap.servers", bootstrap).create().ok()?;
            let metadata = client.fetch_metadata(None, Duration::from_secs(3)).ok()?;
            Some(metadata.brokers().len())
        });
        asked.await.ok().flatten().unwrap_or(0)
    }
}

/// The settings of broker `index` of `all`.
fn properties(index: usize, all: &[Addresses], data: &Path) -> String {
    let own = all[index];
    let voters: Vec<String> =
        all.iter().enumerate().map(|(other, at)| format!("{}@{}", other + 1, at.controller)).collect();
    format!(
        "process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=CLIENT://{client},HARNESS://{harness},INTER://{inter},CONTROLLER://{controller}
advertised.listeners=CLIENT://{proxy},HARNESS://{harness},INTER://{inter}
listener.security.protocol.map=CLIENT:PLAINTEXT,HARNESS:PLAINTEXT,INTER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=INTER
controller.listener.names=CONTROLLER
log.dirs={data}
default.replication.factor={MEMBERS}
min.insync.replicas=2
unclean.leader.election.enable=false
offsets.topic.replication.factor={MEMBERS}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={MEMBERS}
transaction.state.log.min.isr=2
transaction.state.log.num.partitions=2
share.coordinator.state.topic.replication.factor={MEMBERS}
share.coordinator.state.topic.min.isr=2
share.coordinator.state.topic.num.partitions=2
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
# An image that is larger than the consumer takes has to get as far as the consumer.
message.max.bytes=3145728
replica.fetch.max.bytes=4194304
# One that is gone is noticed soon.
broker.session.timeout.ms=6000
replica.lag.time.max.ms=10000
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=8388608
",
        node = index + 1,
        voters = voters.join(","),
        client = own.client,
        proxy = own.proxy,
        harness = own.harness,
        inter = own.inter,
        controller = own.controller,
        data = data.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_sent_to_the_proxy_and_the_harness_is_not() {
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let of = |base| Addresses {
            client: address(base),
            proxy: address(base + 1),
            harness: address(base + 2),
            inter: address(base + 3),
            controller: address(base + 4),
        };
        let text = properties(1, &[of(10), of(20), of(30)], Path::new("/data"));
        for line in [
            "node.id=2",
            "controller.quorum.voters=1@127.0.0.1:14,2@127.0.0.1:24,3@127.0.0.1:34",
            "advertised.listeners=CLIENT://127.0.0.1:21,HARNESS://127.0.0.1:22,INTER://127.0.0.1:23",
            "log.dirs=/data",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
