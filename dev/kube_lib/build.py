"""Gets the programs: etcd out of Debian's package, the servers of Kubernetes compiled as the Go modules of dev/kube/go.mod."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Dict

from image_lib import debian
from image_lib.problem import ROOT, Problem, run
from image_lib.store import dev_dir

MODULE = ROOT / "dev/kube"
SERVERS = ["kube-apiserver", "kube-controller-manager"]


def kubernetes_version() -> str:
    found = re.search(r"k8s\.io/kubernetes (v\S+)", (MODULE / "go.mod").read_text())
    if not found:
        raise Problem("dev/kube/go.mod names no version of k8s.io/kubernetes")
    return found[1]


def environ() -> Dict[str, str]:
    # As the modules say and nothing else: no flags from outside, no other toolchain than the one that is installed.
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local", "GOWORK": "off"}


def servers(jobs: int) -> Path:
    """The folder with kube-apiserver and kube-controller-manager."""
    digest = hashlib.sha256((MODULE / "go.mod").read_bytes() + (MODULE / "go.sum").read_bytes()).hexdigest()[:12]
    home = dev_dir() / "downloads" / f"kube-{kubernetes_version()}-{digest}"
    if all((home / name).is_file() for name in SERVERS):
        return home
    go = shutil.which("go")
    if not go:
        wanted = re.search(r"^go (\S+)", (MODULE / "go.mod").read_text(), re.M)
        raise Problem(f"the servers of Kubernetes are compiled here, and there is no go on the PATH: install Go {wanted[1]} or newer")
    print(f"compiling Kubernetes {kubernetes_version()} (once; half an hour on two busy cores)", flush=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix="kube-", dir=home.parent))
    try:
        packages = [f"k8s.io/kubernetes/cmd/{name}" for name in SERVERS]
        done = subprocess.run(
            [go, "build", "-p", str(jobs), "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", f"{temporary}/", *packages],
            cwd=MODULE, env=environ(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        if done.returncode:
            words = [line for line in done.stderr.splitlines() if not line.startswith("go: downloading")]
            raise Problem(f"Kubernetes cannot be compiled: {' / '.join(words[:4])}")
        shutil.rmtree(home, ignore_errors=True)
        os.rename(temporary, home)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return home


def etcd() -> Path:
    """The program, of the PATH or of Debian's package, which is unpacked and not installed."""
    found = shutil.which("etcd")
    if found:
        return Path(found)
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise Problem("there is no etcd on the PATH, and only Debian's package can be fetched from here: install etcd")
    packages = debian.exactly(["etcd-server"])
    home = dev_dir() / "downloads" / f"etcd-{debian.digest(packages[0].file)}"
    program = home / "usr/bin/etcd"
    if not program.is_file():
        [deb] = debian.fetch(packages, dev_dir() / "downloads/debs")
        run(["dpkg-deb", "--extract", str(deb), str(home)], f"{deb} cannot be unpacked")
    return program
