//! `firesteel describe`: what the binary knows of itself, for people and for programs.
//!
//! Settings and subcommands come out of clap's own definition; routes and metrics come from the roles that serve them.
//! What is written here by hand is which setting holds which port of which role.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, Command, ValueEnum};
use firesteel_common::http::{self, HealthSource};
use firesteel_engine::cluster::{Executor, Scheduler, Served};
use firesteel_pipeline::consumer::{self, images, predictions};
use firesteel_pipeline::{inference, ingest};
use serde::Serialize;

use crate::context::{Context, Outcome};
use crate::{output, settings};

#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// How to print it
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Form,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    Text,
    Json,
}

#[derive(Debug, Serialize)]
struct Description {
    version: &'static str,
    commands: Vec<Subcommand>,
    settings: Vec<Setting>,
    roles: Vec<Role>,
}

#[derive(Debug, Serialize)]
struct Subcommand {
    name: String,
    about: String,
}

/// An argument that is a setting. One that has another default in another subcommand is there twice.
#[derive(Debug, Serialize)]
struct Setting {
    variable: String,
    flag: Option<String>,
    /// In a settings file.
    key: String,
    default: Option<String>,
    help: String,
    /// Who takes it; empty: everybody.
    commands: Vec<String>,
}

/// A subcommand that runs in pods.
#[derive(Debug, Serialize)]
struct Role {
    command: &'static str,
    /// The setting of the address at which those of its ports listen that are numbers alone.
    bind: Option<&'static str>,
    ports: Vec<Port>,
}

/// Something that a role listens on.
#[derive(Debug, Default, Serialize)]
struct Port {
    setting: &'static str,
    /// The setting is ADDRESS:PORT, not the number alone.
    address: bool,
    grpc_health: bool,
    /// The routes that are read, by GET.
    routes: Vec<&'static str>,
    /// Those that take something, by POST.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    posts: Vec<&'static str>,
    metrics: Vec<Metric>,
    /// Answers of routes while nothing goes on, for their fields.
    answers: BTreeMap<&'static str, serde_json::Value>,
}

#[derive(Debug, Serialize)]
struct Metric {
    name: String,
    kind: String,
}

pub(crate) async fn run(args: DescribeArgs, context: Context) -> anyhow::Result<Outcome> {
    let described = describe(context.settings.command()).await?;
    output::print(&match args.format {
        Form::Json => serde_json::to_string_pretty(&described)? + "\n",
        Form::Text => text(&described)?,
    })?;
    Ok(Outcome::Done)
}

async fn describe(command: &Command) -> anyhow::Result<Description> {
    let subcommand = |found: &Command| Subcommand {
        name: found.get_name().to_owned(),
        about: found.get_about().map(ToString::to_string).unwrap_or_default(),
    };
    Ok(Description {
        version: env!("CARGO_PKG_VERSION"),
        commands: command.get_subcommands().map(subcommand).collect(),
        settings: settings_of(command),
        roles: roles().await?,
    })
}

fn settings_of(command: &Command) -> Vec<Setting> {
    let mut found: BTreeMap<(String, Option<String>, Option<String>), Setting> = BTreeMap::new();
    // What a subcommand's own subcommands take is its own.
    for owner in std::iter::once(command).chain(command.get_subcommands()) {
        let inner = owner.get_subcommands().filter(|_| !std::ptr::eq(owner, command));
        let deeper = inner.flat_map(Command::get_arguments);
        for argument in owner.get_arguments().chain(deeper) {
            let Some(variable) = argument.get_env().map(|name| name.to_string_lossy().into_owned()) else {
                continue;
            };
            let flag = argument.get_long().map(|long| format!("--{long}"));
            let defaults = argument.get_default_values();
            let default = (!defaults.is_empty())
                .then(|| defaults.iter().map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(","));
            let setting = Setting {
                key: settings::key(&variable),
                help: argument.get_help().map(ToString::to_string).unwrap_or_default(),
                commands: Vec::new(),
                flag: flag.clone(),
                default: default.clone(),
                variable: variable.clone(),
            };
            let setting = found.entry((variable, flag, default)).or_insert(setting);
            let name = owner.get_name();
            if !std::ptr::eq(owner, command) && setting.commands.iter().all(|known| known != name) {
                setting.commands.push(name.to_owned());
            }
        }
    }
    found.into_values().collect()
}

/// One row a subcommand that has pods. A subcommand that comes to listen on something gets its port here.
async fn roles() -> anyhow::Result<Vec<Role>> {
    let (scheduler, watched_scheduler) = (Scheduler::served()?, Scheduler::health_served()?);
    let executor = Executor::served();
    let stats = Arc::<consumer::Stats>::default;
    let images = consumer::Metrics::images(&images::Config::default(), stats());
    let predictions = consumer::Metrics::predictions(&predictions::Config::default(), stats());
    // Only its metrics are asked for: it has a port for a moment, and no model.
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let config = inference::Config { listen, ..inference::Config::default() };
    let server = inference::Server::bind(config).await.context("cannot ask an inference server")?;
    let inference = inference::Metrics::of(&server);
    let config = ingest::Config { listen, ..ingest::Config::default() };
    let door = ingest::Server::bind(config).await.context("cannot ask a door for images")?.metrics();
    let number = |setting| Port { setting, ..Port::default() };
    Ok(vec![
        Role {
            command: "scheduler",
            bind: Some("FIRESTEEL_SCHEDULER_BIND_HOST"),
            ports: vec![
                serving("FIRESTEEL_SCHEDULER_BIND_PORT", scheduler),
                serving("FIRESTEEL_SCHEDULER_BIND_HEALTH_PORT", watched_scheduler),
            ],
        },
        Role {
            command: "executor",
            bind: Some("FIRESTEEL_EXECUTOR_BIND_HOST"),
            ports: vec![
                number("FIRESTEEL_EXECUTOR_BIND_PORT"),
                number("FIRESTEEL_EXECUTOR_BIND_GRPC_PORT"),
                serving("FIRESTEEL_EXECUTOR_BIND_HEALTH_PORT", executor),
            ],
        },
        Role {
            command: "inference-server",
            bind: None,
            ports: vec![
                Port { address: true, grpc_health: true, ..number("FIRESTEEL_INFERENCE_LISTEN") },
                watched(&inference),
            ],
        },
        Role { command: "consume-images", bind: None, ports: vec![watched(&images)] },
        Role { command: "consume-predictions", bind: None, ports: vec![watched(&predictions)] },
        Role { command: "produce", bind: None, ports: Vec::new() },
        Role {
            command: "ingest",
            bind: None,
            ports: vec![
                Port {
                    address: true,
                    routes: ingest::ROUTES.to_vec(),
                    posts: ingest::POSTS.to_vec(),
                    ..number("FIRESTEEL_INGEST_LISTEN")
                },
                watched(&door),
            ],
        },
        Role {
            command: "spark-connect",
            bind: None,
            ports: vec![Port { address: true, ..number("FIRESTEEL_SPARK_CONNECT_LISTEN") }],
        },
        Role { command: "report", bind: None, ports: Vec::new() },
        Role { command: "make-credentials", bind: None, ports: Vec::new() },
        Role { command: "make-certificate", bind: None, ports: Vec::new() },
    ])
}

/// A port of the engine's.
fn serving(setting: &'static str, served: Served) -> Port {
    let metric = |(name, kind)| Metric { name, kind };
    Port {
        setting,
        routes: served.routes,
        metrics: served.metrics.into_iter().map(metric).collect(),
        answers: served.answers.into_iter().collect(),
        ..Port::default()
    }
}

/// The health server's port, which is off by default.
fn watched(watched: &dyn HealthSource) -> Port {
    let metrics = watched.families().into_iter().map(|family| Metric {
        name: family.name().to_owned(),
        kind: format!("{:?}", family.get_field_type()).to_lowercase(),
    });
    Port {
        setting: "FIRESTEEL_HEALTH_LISTEN",
        address: true,
        routes: http::ROUTES.to_vec(),
        metrics: metrics.collect(),
        ..Port::default()
    }
}

fn text(described: &Description) -> anyhow::Result<String> {
    let mut text = format!("firesteel {}\n\nSubcommands:\n", described.version);
    for command in &described.commands {
        writeln!(text, "  {:<20} {}", command.name, command.about)?;
    }
    writeln!(text, "\nSettings (variable, flag, key in a file, default):")?;
    for setting in &described.settings {
        let Setting { variable, key, help, .. } = setting;
        let flag = setting.flag.as_deref().unwrap_or("no flag");
        let default = setting.default.as_deref().unwrap_or("none");
        writeln!(text, "  {variable} ({flag}, {key}, {default})\n      {help}")?;
    }
    writeln!(text, "\nPorts:")?;
    for role in &described.roles {
        for port in &role.ports {
            let health = if port.grpc_health { ", gRPC health" } else { "" };
            writeln!(text, "  {}: {}{health}", role.command, port.setting)?;
            if !port.routes.is_empty() {
                writeln!(text, "      routes: {}", port.routes.join(" "))?;
            }
            for route in &port.posts {
                writeln!(text, "      takes: POST {route}")?;
            }
            let metrics: Vec<_> = port.metrics.iter().map(|metric| metric.name.as_str()).collect();
            if !metrics.is_empty() {
                writeln!(text, "      metrics: {}", metrics.join(" "))?;
            }
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory as _;

    #[test]
    fn a_setting_is_told_as_clap_has_it() {
        let settings = settings_of(&Cli::command());
        let find = |variable: &str| settings.iter().find(|one| one.variable == variable).expect("a setting");
        let port = find("FIRESTEEL_EXECUTOR_BIND_PORT");
        assert_eq!(
            (port.flag.as_deref(), port.default.as_deref(), port.key.as_str(), port.commands.as_slice()),
            (Some("--bind-port"), Some("50051"), "executor_bind_port", ["executor".to_owned()].as_slice())
        );
        assert!(find("FIRESTEEL_CONFIG").commands.is_empty());
        assert_eq!(find("FIRESTEEL_HEALTH_LISTEN").default, None);
        assert_eq!(crate::settings::names(&Cli::command()).len(), {
            let mut names: Vec<_> = settings.iter().map(|one| one.variable.as_str()).collect();
            names.dedup();
            names.len()
        });
    }

    #[tokio::test]
    async fn every_port_is_a_setting_of_its_subcommand_and_metrics_are_those_that_are_served() {
        let described = describe(&Cli::command()).await.expect("a description");
        for role in &described.roles {
            for name in role.ports.iter().map(|port| port.setting).chain(role.bind) {
                let taken = |one: &Setting| {
                    one.variable == name && one.commands.iter().any(|owner| owner == role.command)
                };
                assert!(described.settings.iter().any(taken), "{name} is no setting of {}", role.command);
            }
        }
        let ports: Vec<_> = described.roles.iter().flat_map(|role| &role.ports).collect();
        let metric = |wanted: &str| {
            ports
                .iter()
                .flat_map(|port| &port.metrics)
                .find(|metric| metric.name == wanted)
                .map(|one| one.kind.as_str())
        };
        assert_eq!(metric("firesteel_pending_tasks"), Some("gauge"));
        assert_eq!(metric("firesteel_jobs_total"), Some("counter"));
        assert_eq!(metric("firesteel_scan_seconds_total"), Some("counter"));
        assert_eq!(metric("firesteel_consumer_lag_records"), Some("gauge"));
        assert_eq!(metric("firesteel_inference_batch_images"), Some("histogram"));
        assert_eq!(ports[0].answers["/api/firesteel/cluster"]["tasks"]["pending"], 0);
        for port in ports.iter().filter(|port| !port.metrics.is_empty()) {
            assert!(port.routes.contains(&"/metrics"), "{}", port.setting);
        }
        let text = text(&described).expect("text");
        assert!(
            text.contains("FIRESTEEL_SCHEDULER_BIND_PORT (--bind-port, scheduler_bind_port, 50050)"),
            "{text}"
        );
    }
}
