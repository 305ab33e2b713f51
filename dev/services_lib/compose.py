"""The two servers in Docker, through compose.yaml, where an engine answers."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import List, Set

from shared_lib.program import ROOT, Problem, dev_dir, say

from .settings import CONTROLLER_PORT, KAFKA_PORT, MONGODB_PORT, RUNTIME, Settings


def why_not(settings: Settings) -> str:
    """Empty where Docker Compose can be used, else the reason."""
    if settings.runtime == "local":
        return f"{RUNTIME} is local"
    if not shutil.which("docker"):
        return "there is no docker here"
    for command, why in ((["compose", "version"], "docker has no compose plugin"), (["info"], "no Docker engine answers")):
        try:
            done = subprocess.run(["docker", *command], capture_output=True, stdin=subprocess.DEVNULL, timeout=15)
        except (OSError, subprocess.TimeoutExpired):
            return why
        if done.returncode:
            return why
    return ""


def up(settings: Settings, services: List[str]) -> None:
    _record().parent.mkdir(parents=True, exist_ok=True)
    # First: whatever comes up, `down` knows of it.
    _record().write_text("\n".join(sorted(started() | set(services))))
    say("docker", f"starting {' and '.join(services)} through Docker Compose (images are fetched once)")
    _compose(settings, "start", "up", "--detach", "--wait", "--wait-timeout", "600", *services)


def started() -> Set[str]:
    """The names of the servers that were started so."""
    return set(_record().read_text().split()) if _record().is_file() else set()


def _record() -> Path:
    return dev_dir() / "run/compose"


def down(settings: Settings, wipe: bool) -> None:
    say("docker", "stopping what Docker Compose started")
    _compose(settings, "stop", "down", *(["--volumes"] if wipe else []))
    _record().unlink(missing_ok=True)


def _compose(settings: Settings, what: str, *arguments: str) -> None:
    ports = {KAFKA_PORT: settings.kafka_port, CONTROLLER_PORT: settings.controller_port, MONGODB_PORT: settings.mongodb_port}
    environ = {**os.environ, **{name: str(port) for name, port in ports.items()}}
    command = ["docker", "compose", "--file", str(ROOT / "compose.yaml"), *arguments]
    if subprocess.run(command, stdin=subprocess.DEVNULL, env=environ).returncode:
        raise Problem(
            f"Docker Compose could not {what} the servers: its own words are above, `docker compose logs` has theirs; "
            f"{RUNTIME}=local does without Docker"
        )
