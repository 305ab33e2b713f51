"""`dev/test-kube`: builds what is missing, starts it, runs the cases, and says how many passed."""

from __future__ import annotations

import argparse
from typing import List, Optional

from manifests import render
from shared_lib.program import cases as run_cases
from shared_lib.program import dev_dir, ended

from . import build, cases
from .cluster import Cluster

DESCRIPTION = """Has a real API server of Kubernetes take every overlay of k8s/. It is compiled here (Go, once), runs on
etcd of Debian's package, on the loopback, and is stopped at the end. Controllers make pods of what it takes; there is no
node, so none of them runs."""


def main(argv: Optional[List[str]] = None) -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="dev/test-kube", description=DESCRIPTION, formatter_class=raw)
    parser.add_argument("--jobs", type=int, default=2, help="how many packages are compiled at once [default: 2]")
    parser.add_argument("--build-only", action="store_true", help="compile what is missing, and start nothing")
    parser.add_argument("--only", default="", metavar="WORD", help="the cases that have WORD in their name")
    options = parser.parse_args(argv)

    def run() -> int:
        servers, etcd, kubectl = build.servers(options.jobs), build.etcd(), render.kubectl()
        if options.build_only:
            return 0
        with Cluster(dev_dir() / "kube", servers, etcd, kubectl) as cluster:
            print(f"Kubernetes {build.version()} serves on the loopback", flush=True)
            return run_cases([row for row in cases.all_of(cluster) if options.only in row[0]], go_on=True)

    return ended(run, "its servers are stopped")
