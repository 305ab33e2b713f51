"""Settings, all from the environment. A `Settings` is usable as it stands: ports are ports, and no setting is misspelt."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Tuple

from shared_lib.program import Problem

KAFKA = "FIRESTEEL_KAFKA_BOOTSTRAP"
MONGODB = "FIRESTEEL_MONGODB_URI"
KAFKA_PORT = "FIRESTEEL_DEV_KAFKA_PORT"
CONTROLLER_PORT = "FIRESTEEL_DEV_KAFKA_CONTROLLER_PORT"
MONGODB_PORT = "FIRESTEEL_DEV_MONGODB_PORT"
RUNTIME = "FIRESTEEL_DEV_RUNTIME"
OURS = ("FIRESTEEL_DEV_DIR", KAFKA_PORT, CONTROLLER_PORT, MONGODB_PORT, RUNTIME)
RUNTIMES = ("auto", "docker", "local")

Address = Tuple[str, int]


@dataclass(frozen=True)
class Settings:
    kafka_bootstrap: Optional[str]
    mongodb_uri: Optional[str]
    kafka_port: int
    controller_port: int
    mongodb_port: int
    runtime: str

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "Settings":
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
        controller_port = _port(environ, CONTROLLER_PORT, kafka_port + 1)
        mongodb_port = _port(environ, MONGODB_PORT, 27017)
        seen: Dict[int, str] = {}
        for name, port in ((KAFKA_PORT, kafka_port), (CONTROLLER_PORT, controller_port), (MONGODB_PORT, mongodb_port)):
            if port in seen:
                raise Problem(f"{seen[port]} and {name} are both {port}: each server needs a port of its own")
            seen[port] = name
        bootstrap, uri = environ.get(KAFKA) or None, environ.get(MONGODB) or None
        bootstrap_addresses(bootstrap or "localhost")
        if uri and not re.match(r"mongodb(\+srv)?://", uri):
            raise Problem(f"{MONGODB} is not a MongoDB connection string: it begins with mongodb:// or mongodb+srv://")
        return cls(bootstrap, uri, kafka_port, controller_port, mongodb_port, runtime)


def bootstrap_addresses(value: str) -> List[Address]:
    found = []
    for part in value.split(","):
        match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\s:\[\]/@]+))(?::([0-9]{1,5}))?", part.strip())
        if not match or not 1 <= int(match[3] or 9092) <= 65535:
            raise Problem(f"{KAFKA} does not hold host:port addresses that can be read")
        found.append((match[1] or match[2], int(match[3] or 9092)))
    return found


def show(addresses: List[Address]) -> str:
    return ", ".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in addresses)


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise Problem(f"{name} is {text!r}, which is not a port (1 to 65535)")
    return int(text)
