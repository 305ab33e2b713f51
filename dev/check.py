#!/usr/bin/env python3
"""Checks what no compiler does: the edges between the crates, the floors of the engine, file sizes, what a file may hold.

Exit code 1 and a line per finding, or nothing.
"""

import hashlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import floors

ROOT = Path(__file__).resolve().parent.parent

# Edges run one way; a new one is its own change, with the invariant in ARCHITECTURE.md.
EDGES = {
    "firesteel-proto": set(),
    "firesteel-common": set(),
    "firesteel-engine": {"firesteel-common", "firesteel-proto"},
    "firesteel-pipeline": {"firesteel-common", "firesteel-proto"},
    "firesteel": {"firesteel-common", "firesteel-engine", "firesteel-pipeline", "firesteel-proto"},
    "firesteel-benches": {"firesteel-engine", "firesteel-pipeline", "firesteel-testkit"},
    "firesteel-chaos": {"firesteel-pipeline", "firesteel-proto", "firesteel-testkit"},
    "firesteel-testkit": {"firesteel-engine", "firesteel-proto"},
}
# The floors of the engine, from the top down, as a query takes them: a statement enters `query`, runs on `cluster`, is
# planned in `plan`, which asks `connectors`. What a configuration names (the trait of a connector, functions) lies below
# it. An arrow back up, and a circle of files, is refused; the decoder recurs because documents do.
ENGINE = [
    "lib", "fuzz", "connect", "report", "prelude", "query", "cluster", "dataflow", "plan", "documents", "connectors", "jobs", "config",
    "connectors/connector functions", "limits", "peers", "value wire", "suggestions", "slots lease", "error",
]
ENGINE_CIRCLES = [{"connectors/mongodb/read/decode/record.rs", "connectors/mongodb/read/decode/values.rs"}]
LINES = 500
MIB = 1 << 20
BINARIES = {".parquet": 16 * MIB, ".safetensors": 32 * MIB, ".png": MIB, ".jpg": MIB, ".webp": MIB, ".svg": MIB}
# What belongs to one machine, one person or one registry has no place in the tree.
FORBIDDEN = [
    (re.compile(r"/(?:home|Users|root|work)/\w"), "a path of one machine"),
    (re.compile(r"(?i)repo1?\.maven\.|files\.pythonhosted|pypi\.org|static\.crates\.io|deb\.debian\.org"), "a registry's address"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"), "a private key"),
    (re.compile(r"\bAKIA[0-9A-Z]{16}\b"), "an access key"),
]
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")


def tracked():
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True,
    ).stdout.decode()
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def edges():
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())
    for member in workspace["workspace"]["members"]:
        manifest = tomllib.loads((ROOT / member / "Cargo.toml").read_text())
        name = manifest["package"]["name"]
        if name not in EDGES:
            yield f"{member}/Cargo.toml: crate {name} has no row in dev/check.py's EDGES"
            continue
        ours = {d for d in manifest.get("dependencies", {}) if d.startswith("firesteel")}
        for extra in sorted(ours - EDGES[name]):
            yield f"{member}/Cargo.toml: edge {name} -> {extra} is not in the design"
        if manifest.get("lints") != {"workspace": True}:
            yield f"{member}/Cargo.toml: does not inherit the workspace's lints"


def files(names):
    for name in names:
        path = ROOT / name
        if path.suffix in BINARIES:
            if path.stat().st_size > BINARIES[path.suffix]:
                yield f"{name}: {path.stat().st_size} bytes is over the limit of its kind"
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            yield f"{name}: a binary file of a kind that dev/check.py does not know"
            continue
        if name == "Cargo.lock" or name == "dev/check.py":
            continue
        for number, line in enumerate(text.splitlines(), 1):
            for pattern, what in FORBIDDEN:
                if pattern.search(line):
                    yield f"{name}:{number}: {what}"
            if path.suffix in {".rs", ".py", ".proto", ".sh"} and UNFINISHED.search(line):
                yield f"{name}:{number}: unfinished work belongs into an issue"
        if path.suffix == ".rs":
            if text.count("\n") > LINES:
                yield f"{name}: {text.count(chr(10))} lines; past {LINES} a file is asking for a seam"
            if not text.startswith("//!") and path.name != "build.rs":
                yield f"{name}: no //! that says its role"


def assets():
    """The checksums that the assets' README states are those of the files."""
    folder = ROOT / "pipeline/assets"
    stated = dict(
        (m[1], m[2]) for m in re.finditer(r"^\| `([\w.-]+)` \|.*`([0-9a-f]{64})`", (folder / "README.md").read_text(), re.M)
    )
    for name in ("cifar10-test.parquet", "resnet18-cifar10.safetensors", "reference.safetensors"):
        actual = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        if stated.get(name) != actual:
            yield f"pipeline/assets/{name}: sha256 is {actual}, the README there says {stated.get(name)}"


def main():
    inside = floors.findings(ROOT, "engine/src", ENGINE, ENGINE_CIRCLES)
    findings = [*edges(), *inside, *files(tracked()), *assets()]
    for finding in findings:
        print(finding, file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
