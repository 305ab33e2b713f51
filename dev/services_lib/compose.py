"""The two servers in Docker, through compose.yaml, where an engine answers."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import List, Set

from .process import say
from .settings import CONTROLLER_PORT, KAFKA_PORT, MONGODB_PORT, RUNTIME, Problem, Settings


def why_not(settings: Settings) -> str:
    """Empty where Docker Compose can be used, else the reason."""
    if settings.runtime == "local":
        return f"{RUNTIME} is local"
    if not shutil.which("docker"):
        return "there is no docker here"
    if not _answers(["docker", "compose", "version"]):
        return "docker has no compose plugin"
    if not _answers(["docker", "info"]):
        return "no Docker engine answers"
    return ""


def _answers(command: List[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=15).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def up(settings: Settings, services: List[str]) -> None:
    _record(settings).parent.mkdir(parents=True, exist_ok=True)
    # First: whatever comes up, `down` knows of it.
    _record(settings).write_text("\n".join(sorted(started(settings) | set(services))))
    say("docker", f"starting {' and '.join(services)} through Docker Compose (images are fetched once)")
    if _compose(settings, ["up", "--detach", "--wait", "--wait-timeout", "600", *services]):
        raise Problem(
            "Docker Compose could not start the servers: its own words are above, `docker compose logs` has theirs; "
            f"{RUNTIME}=local does without Docker"
        )


def started(settings: Settings) -> Set[str]:
    """The names of the servers that were started so."""
    try:
        return set(_record(settings).read_text().split())
    except FileNotFoundError:
        return set()


def _record(settings: Settings) -> Path:
    return settings.dev_dir / "run/compose"


def down(settings: Settings, wipe: bool) -> None:
    say("docker", "stopping what Docker Compose started")
    if _compose(settings, ["down", *(["--volumes"] if wipe else [])]):
        raise Problem("Docker Compose could not stop the servers: its own words are above")
    _record(settings).unlink(missing_ok=True)


def _compose(settings: Settings, arguments: List[str]) -> int:
    ports = {
        KAFKA_PORT: settings.kafka_port,
        CONTROLLER_PORT: settings.controller_port,
        MONGODB_PORT: settings.mongodb_port,
    }
    try:
        return subprocess.run(
            ["docker", "compose", "--file", str(settings.root / "compose.yaml"), *arguments],
            stdin=subprocess.DEVNULL,
            env={**os.environ, **{name: str(port) for name, port in ports.items()}},
        ).returncode
    except OSError as error:
        raise Problem(f"docker cannot be run: {error}") from error
