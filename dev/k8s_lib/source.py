"""What the Rust sources say of the program: settings, ports, routes, metrics.

The command line itself is asked where it can be (`firesteel --check`); this is for what it does not tell.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Optional, Set

from .tools import ROOT


@dataclass(frozen=True)
class Port:
    """A port that a role listens on: the setting of its number, and what answers there."""

    env: str
    flag: str
    address: bool = False  # the setting is ADDRESS:PORT, not the number alone
    routes: Optional[str] = None  # the source file whose routes are served there, over HTTP
    grpc_health: bool = False


@dataclass(frozen=True)
class Role:
    """What a subcommand listens on, and by which flag it is told the address of those ports that are numbers alone."""

    ports: List[Port] = field(default_factory=list)
    bind: Optional[str] = None


# Off by default, and on another port in each role's manifest.
HEALTH = Port("FIRESTEEL_HEALTH_LISTEN", "--health-listen", address=True, routes="common/src/http.rs")

# One row a subcommand that has pods. A subcommand that comes to listen on something gets its row here.
ROLES: Dict[str, Role] = {
    "scheduler": Role(
        [Port("FIRESTEEL_SCHEDULER_BIND_PORT", "--bind-port", routes="engine/src/cluster/scheduler/routes.rs")], "--bind-host"
    ),
    "executor": Role(
        [
            Port("FIRESTEEL_EXECUTOR_BIND_PORT", "--bind-port"),
            Port("FIRESTEEL_EXECUTOR_BIND_GRPC_PORT", "--bind-grpc-port"),
            Port("FIRESTEEL_EXECUTOR_BIND_HEALTH_PORT", "--bind-health-port", routes="engine/src/cluster/executor/mod.rs"),
        ],
        "--bind-host",
    ),
    "inference-server": Role([Port("FIRESTEEL_INFERENCE_LISTEN", "--listen", address=True, grpc_health=True), HEALTH]),
    "consume-images": Role([HEALTH]),
    "consume-predictions": Role([HEALTH]),
    "produce": Role(),
    "report": Role(),
}


def read(folder: str) -> str:
    return "\n".join(path.read_text() for path in sorted((ROOT / folder).rglob("*.rs")))


def settings(text: Optional[str] = None) -> Set[str]:
    """Every setting's environment variable."""
    return set(re.findall(r'env = "(FIRESTEEL_[A-Z_]+)"', read("cli/src") if text is None else text))


def default(env: str, text: Optional[str] = None) -> Optional[str]:
    """The default of the argument that `env` sets, as the source has it."""
    text = read("cli/src") if text is None else text
    found = re.search(rf'env = "{env}"((?:(?!env = ").)*?)\n? *\)\]', text, re.S)
    value = re.search(r'default_value(?:_t)? = "?([^",\s)]+)"?', found[1]) if found else None
    return value[1].replace("_", "") if value else None


def routes(path: str) -> Set[str]:
    return set(re.findall(r'\.route\(\s*"(/[^"]*)"', Path(ROOT / path).read_text()))


def value(container: Dict, environment: Dict[str, str], flag: str, env: str) -> Optional[str]:
    """What a setting is for a container: by its arguments, else its environment, else by default."""
    arguments = container.get("args", [])
    for position, argument in enumerate(arguments):
        if argument.startswith(flag + "="):
            return argument[len(flag) + 1 :]
        if argument == flag and position + 1 < len(arguments):
            return arguments[position + 1]
    return environment.get(env, default(env))


def metrics(text: Optional[str] = None) -> Set[str]:
    """Every metric that is exported, with the three names that a histogram has."""
    text = read("engine/src/cluster") + read("pipeline/src") + read("cli/src") if text is None else text
    found = {f"firesteel_{name}" for name in re.findall(r'\b(?:gauge|counters|seconds)\(\s*"(?!firesteel_)([a-z_]+)"', text)}
    # Metrics have at least two words; a bare `firesteel_x` in a log directive or a crate's name is none.
    found |= set(re.findall(r'(?:::new|::with_opts|register\w*!?|counters?|gauges?|histogram)\(\s*"(firesteel_[a-z_]+)"', text))
    histograms = {name for name in found if name.endswith("_seconds")} | set(re.findall(r'\bhistogram\(\s*"(firesteel_[a-z_]+)"', text))
    return found | {f"{name}_{end}" for name in histograms for end in ("bucket", "sum", "count")}


def json_fields(path: str) -> Set[str]:
    """The names of the fields that a source file's structs have."""
    return set(re.findall(r"^\s*pub(?:\(\w+\))? (\w+):", Path(ROOT / path).read_text(), re.M))
