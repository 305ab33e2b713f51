"""Settings, all from the environment, and the one kind of failure that this program reports.

Guarantees that a `Settings` is usable as it stands: ports are ports, addresses parse, and no setting is misspelt.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Tuple
from urllib.parse import parse_qsl

KAFKA = "FIRESTEEL_KAFKA_BOOTSTRAP"
MONGODB = "FIRESTEEL_MONGODB_URI"
DEV_DIR = "FIRESTEEL_DEV_DIR"
KAFKA_PORT = "FIRESTEEL_DEV_KAFKA_PORT"
CONTROLLER_PORT = "FIRESTEEL_DEV_KAFKA_CONTROLLER_PORT"
MONGODB_PORT = "FIRESTEEL_DEV_MONGODB_PORT"
RUNTIME = "FIRESTEEL_DEV_RUNTIME"
OURS = (DEV_DIR, KAFKA_PORT, CONTROLLER_PORT, MONGODB_PORT, RUNTIME)
RUNTIMES = ("auto", "docker", "local")

Address = Tuple[str, int]


class Problem(Exception):
    """Something the user can act on: one clear sentence, printed as it is (less its passwords)."""


@dataclass(frozen=True)
class Settings:
    root: Path
    dev_dir: Path
    kafka_bootstrap: Optional[str]
    mongodb_uri: Optional[str]
    kafka_port: int
    controller_port: int
    mongodb_port: int
    runtime: str

    @classmethod
    def read(cls, environ: Mapping[str, str], root: Path) -> "Settings":
        for name in environ:
            if name.startswith("FIRESTEEL_DEV_") and name not in OURS:
                near = difflib.get_close_matches(name, OURS, 1, 0.0)[0]
                raise Problem(f"{name} is not a setting; the nearest one is {near}")
        runtime = environ.get(RUNTIME) or "auto"
        if runtime not in RUNTIMES:
            raise Problem(f"{RUNTIME} is {runtime!r}; it can be {', '.join(RUNTIMES)}")
        kafka_port = _port(environ, KAFKA_PORT, 9092)
        if kafka_port == 65535 and not environ.get(CONTROLLER_PORT):
            raise Problem(f"{KAFKA_PORT} is 65535, which leaves no next port for the controller: set {CONTROLLER_PORT}")
        ports = {
            KAFKA_PORT: kafka_port,
            CONTROLLER_PORT: _port(environ, CONTROLLER_PORT, kafka_port + 1),
            MONGODB_PORT: _port(environ, MONGODB_PORT, 27017),
        }
        seen: Dict[int, str] = {}
        for name, port in ports.items():
            if port in seen:
                raise Problem(f"{seen[port]} and {name} are both {port}: each server needs a port of its own")
            seen[port] = name
        settings = cls(
            root=root,
            dev_dir=(root / (environ.get(DEV_DIR) or ".dev")).resolve(),
            kafka_bootstrap=environ.get(KAFKA) or None,
            mongodb_uri=environ.get(MONGODB) or None,
            kafka_port=ports[KAFKA_PORT],
            controller_port=ports[CONTROLLER_PORT],
            mongodb_port=ports[MONGODB_PORT],
            runtime=runtime,
        )
        if settings.kafka_bootstrap:
            bootstrap_addresses(settings.kafka_bootstrap)
        if settings.mongodb_uri:
            MongodbUri.parse(settings.mongodb_uri)
        return settings


@dataclass(frozen=True)
class MongodbUri:
    """What a probe needs of a connection string; never the user or the password."""

    addresses: List[Address]
    tls: bool
    certificate_file: Optional[str]
    needs_dns: bool

    @classmethod
    def parse(cls, uri: str) -> "MongodbUri":
        match = re.match(r"(mongodb(?:\+srv)?)://([^/?]*)[^?]*(?:\?(.*))?$", uri)
        if not match:
            raise Problem(f"{MONGODB} is not a MongoDB connection string: it begins with mongodb:// or mongodb+srv://")
        user, _, hosts = match[2].rpartition("@")
        if user.count("@") or user.count(":") > 1 or "@" in uri[len(match[1]) + 3 + len(match[2]) :].partition("?")[0]:
            # Reading on would take a piece of the password for a host, and print it.
            raise Problem(f"{MONGODB} has a user or password with a bare : / @ in it: write %3A, %2F or %40 instead")
        srv = match[1] == "mongodb+srv"
        options = {key.lower(): value for key, value in parse_qsl(match[3] or "")}
        return cls(
            addresses=_addresses(hosts, 27017, MONGODB),
            tls=(options.get("tls") or options.get("ssl") or str(srv)).lower() == "true",
            certificate_file=options.get("tlscertificatekeyfile"),
            needs_dns=srv,
        )


def bootstrap_addresses(value: str) -> List[Address]:
    return _addresses(value, 9092, KAFKA)


def show(addresses: List[Address]) -> str:
    return ", ".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in addresses)


def redact(text: str) -> str:
    """Takes users, passwords and tokens out of whatever URLs `text` holds. Rather too much than too little."""
    text = re.sub(r"://\S*@", "://***@", text)
    return re.sub(r"(?i)(password|token|secret)([=:])[^&\s,]+", r"\1\2***", text)


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise Problem(f"{name} is {text!r}, which is not a port (1 to 65535)")
    return int(text)


def _addresses(text: str, default_port: int, setting: str) -> List[Address]:
    found = []
    for part in text.split(","):
        match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\s:\[\]/@]+))(?::([0-9]{1,5}))?", part.strip())
        if not match or not 1 <= int(match[3] or default_port) <= 65535:
            raise Problem(f"{setting} does not hold host:port addresses that can be read")
        found.append((match[1] or match[2], int(match[3] or default_port)))
    return found
