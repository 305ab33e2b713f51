"""Gets the programs: etcd out of Debian's package, the servers of Kubernetes compiled as the Go modules of dev/kube/go.mod."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from image_lib import debian
from shared_lib.fetch import digest, whole
from shared_lib.program import ROOT, Problem, dev_dir, run

MODULE = ROOT / "dev/kube"
SERVERS = ["kube-apiserver", "kube-controller-manager"]
# As the modules say and nothing else: no flags from outside, no other toolchain than the one that is installed.
GO = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local", "GOWORK": "off"}


def version(pattern: str = r"k8s\.io/kubernetes (v\S+)") -> str:
    found = re.search(pattern, (MODULE / "go.mod").read_text())
    if not found:
        raise Problem(f"dev/kube/go.mod has nothing like {pattern}")
    return found[1]


def servers(jobs: int) -> Path:
    """The folder with kube-apiserver and kube-controller-manager."""
    home = dev_dir() / "downloads" / f"kube-{version()}-{digest(MODULE / 'go.mod', MODULE / 'go.sum')}"
    if all((home / name).is_file() for name in SERVERS):
        return home
    go = shutil.which("go")
    if not go:
        wanted = version(r"(?m)^go (\S+)")
        raise Problem(f"the servers of Kubernetes are compiled here, and there is no go on the PATH: install Go {wanted} or newer")
    print(f"compiling Kubernetes {version()} (once; half an hour on two busy cores)", flush=True)
    with whole(home) as temporary:
        command = [go, "build", "-p", str(jobs), "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", f"{temporary}/"]
        done = subprocess.run(
            [*command, *(f"k8s.io/kubernetes/cmd/{name}" for name in SERVERS)],
            cwd=MODULE, env={**os.environ, **GO}, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        if done.returncode:
            words = [line for line in done.stderr.splitlines() if not line.startswith("go: downloading")]
            raise Problem(f"Kubernetes cannot be compiled: {' / '.join(words[:4])}")
    return home


def etcd() -> str:
    """The program, of the PATH or of Debian's package, which is unpacked and not installed."""
    found = shutil.which("etcd")
    if found:
        return found
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise Problem("there is no etcd on the PATH, and only Debian's package can be fetched from here: install etcd")
    packages = debian.exactly(["etcd-server"])
    home = dev_dir() / "downloads" / f"etcd-{digest(packages[0].file)}"
    if not (home / "usr/bin/etcd").is_file():
        [deb] = debian.fetch(packages)
        run(["dpkg-deb", "--extract", str(deb), str(home)], f"{deb} cannot be unpacked")
    return str(home / "usr/bin/etcd")
