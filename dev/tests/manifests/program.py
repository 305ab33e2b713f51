"""What the binary says of itself (`firesteel describe --format json`), and what it says to arguments (`firesteel --check …`)."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from pathlib import Path
from typing import Any, Dict, List, Optional, Set

from shared_lib.program import ROOT, run

from .objects import Object

Port = Dict[str, Any]


def binary() -> Optional[Path]:
    """Where `make build` and `make test` put it, else where `make release` does."""
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    places = ((target if target.is_absolute() else ROOT / target) / profile / "firesteel" for profile in ("debug", "release"))
    return next((place for place in places if place.is_file()), None)


@functools.lru_cache(maxsize=None)
def described() -> "Described":
    program = binary()
    if program is None:
        raise FileNotFoundError("there is no binary of firesteel: run `make build`")
    return Described(json.loads(run([str(program), "describe", "--format", "json"], "the binary does not describe itself")))


class Described:
    def __init__(self, given: Dict[str, Any]):
        self.settings = given["settings"]
        self.roles = {role["command"]: role for role in given["roles"]}
        self.variables: Set[str] = {setting["variable"] for setting in self.settings}

    def setting(self, variable: str, role: str = "") -> Dict[str, Any]:
        """A setting as the subcommand `role` has it."""
        found = [one for one in self.settings if one["variable"] == variable]
        return next((one for one in found if role in one["commands"]), found[0])

    def default(self, variable: str) -> Optional[str]:
        return self.setting(variable)["default"]

    def value(self, container: Object, environment: Dict[str, str], variable: str) -> Optional[str]:
        """What a setting is for a container: by its arguments, else its environment, else by default."""
        arguments = container.get("args") or [""]
        setting = self.setting(variable, arguments[0])
        for position, argument in enumerate(arguments):
            if argument.startswith(f"{setting['flag']}="):
                return argument.partition("=")[2]
            if argument == setting["flag"] and position + 1 < len(arguments):
                return arguments[position + 1]
        return environment.get(variable, setting["default"])

    def ports(self) -> List[Port]:
        return [port for role in self.roles.values() for port in role["ports"]]

    def metrics(self) -> Set[str]:
        """Every metric that is exported, with the three names that a histogram has."""
        found = {(metric["name"], metric["kind"]) for port in self.ports() for metric in port["metrics"]}
        ends = ("bucket", "sum", "count")
        return {name for name, _ in found} | {f"{name}_{end}" for name, kind in found if kind == "histogram" for end in ends}


def refused(container: Object, variables: Dict[str, str], program: Path) -> str:
    """What the binary says to a container's arguments and settings, where it does not take them. Starts nothing."""
    # Somewhere without a firesteel.toml, and with nothing of this process's environment.
    done = subprocess.run(
        [str(program), "--check", *container.get("args", [])],
        env=variables, cwd="/", capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
    )
    return done.stderr.strip()[:500] if done.returncode else ""
