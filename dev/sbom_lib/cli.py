"""`dev/sbom`: writes the parts of the binary, and how files came about."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Tuple

from shared_lib.program import ROOT, Problem, ended, run

from . import parts, statement

DESCRIPTION = """Writes what the binary is made of as CycloneDX 1.6 (JSON): each crate with its checksum and licence, the C libraries
that crates bring along, and who depends on whom. With --provenance, how files came about, as an unsigned SLSA statement (v1).
The same commit gives the same list. `dev/image` calls this for the image."""
PLATFORM = "x86_64-unknown-linux-gnu"
SOURCES = ("Cargo.lock", "Cargo.toml", "Dockerfile")


def git(*arguments: str) -> str:
    found = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return found.stdout.strip() if found.returncode == 0 else ""


def revision() -> str:
    return git("rev-parse", "HEAD") or os.environ.get("REVISION") or "unknown"


def time() -> str:
    """That of the commit; without one the beginning of all, so that two builds agree."""
    seconds = int(git("log", "-1", "--format=%ct") or os.environ.get("SOURCE_DATE_EPOCH") or 0)
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat().replace("+00:00", "Z")


def metadata(features: str) -> Dict[str, Any]:
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", PLATFORM]
    command += ["--manifest-path", "cli/Cargo.toml", *(["--features", features] if features else [])]
    return json.loads(run(command, "cargo cannot say what the binary is made of", cwd=ROOT))


def document(features: str = "", debian: Iterable[Tuple[str, str]] = ()) -> str:
    found = parts.document(metadata(features), (ROOT / "Cargo.lock").read_text(), time(), revision(), debian)
    return json.dumps(found, indent=1) + "\n"


def provenance(subjects: List[Path], how: Dict[str, str]) -> str:
    for path in subjects:
        if not path.is_file():
            raise Problem(f"there is no {path}")
    compiler = run(["rustc", "--version"], "rustc does not answer").strip()
    sources = {name: ROOT / name for name in SOURCES}
    clean = bool(git("rev-parse", "HEAD")) and not git("status", "--porcelain")
    found = statement.provenance(subjects, sources, revision(), clean, {"compiler": compiler, "platform": PLATFORM, **how})
    return json.dumps(found, indent=1) + "\n"


def parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    found = argparse.ArgumentParser(prog="dev/sbom", description=DESCRIPTION, formatter_class=raw)
    found.add_argument("--output", type=Path, help="where the list goes [default: standard output]")
    found.add_argument("--features", default="", help="those of cargo that the binary was built with")
    found.add_argument("--provenance", type=Path, nargs="+", metavar="FILE", help="writes how these came about instead")
    return found


def make(arguments: argparse.Namespace) -> None:
    features = {"features": arguments.features} if arguments.features else {}
    text = provenance(arguments.provenance, features) if arguments.provenance else document(arguments.features)
    if arguments.output:
        arguments.output.write_text(text)
    else:
        print(text, end="")


def main(argv: Optional[List[str]] = None) -> int:
    return ended(lambda: make(parser().parse_args(argv)))
