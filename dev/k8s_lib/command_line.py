"""Asks the real binary whether it takes a container's arguments and settings: `firesteel --check …` starts nothing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import List, Optional

from .objects import Object
from .serving import ours
from .tools import ROOT


def binary() -> Optional[Path]:
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    found = (target if target.is_absolute() else ROOT / target) / "release/firesteel"
    return found if found.is_file() else None


def check(objects: List[Object], firesteel: Path) -> List[str]:
    findings = []
    for pod, container, variables in ours(objects):
        variables = {key: _placeholder(key) if value == "placeholder" else value for key, value in variables.items()}
        # Somewhere without a firesteel.toml, and with nothing of this process's environment.
        done = subprocess.run(
            [str(firesteel), "--check", *container.get("args", [])],
            env=variables,
            cwd="/",
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
        if done.returncode:
            findings.append(f"{pod}/{container['name']}: {done.stderr.strip()[:500]}")
    return findings


def _placeholder(name: str) -> str:
    """Something of the right kind, for what only the cluster knows."""
    return "mongodb://user:word@mongodb:27017/?replicaSet=rs0" if name == "FIRESTEEL_MONGODB_URI" else "10.0.0.1"
