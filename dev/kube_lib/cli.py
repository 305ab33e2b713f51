"""`dev/test-kube`: builds what is missing, starts it, runs the cases, and says how many passed."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from typing import List, Optional

from image_lib.problem import Problem
from image_lib.store import dev_dir
from k8s_lib import tools

from . import build, cases
from .cluster import Cluster

DESCRIPTION = """Has a real API server of Kubernetes take every overlay of k8s/. It is compiled here (Go, once), runs on
etcd of Debian's package, on the loopback, and is stopped at the end. Controllers make pods of what it takes; there is no
node, so none of them runs."""


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="dev/test-kube", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("--jobs", type=int, default=2, help="how many packages are compiled at once [default: 2]")
    found.add_argument("--build-only", action="store_true", help="compile what is missing, and start nothing")
    found.add_argument("--only", default="", metavar="WORD", help="the cases that have WORD in their name")
    return found


def run(arguments: argparse.Namespace) -> int:
    servers, etcd, kubectl = build.servers(arguments.jobs), build.etcd(), tools.kubectl()
    if arguments.build_only:
        return 0
    passed = failed = 0
    with Cluster(dev_dir() / "kube", servers, etcd, kubectl) as cluster:
        print(f"Kubernetes {build.kubernetes_version()} serves on the loopback", flush=True)
        for title, case in cases.all_of(cluster):
            if arguments.only not in title:
                continue
            started = time.monotonic()
            try:
                case()
            except (Problem, ValueError) as problem:
                failed += 1
                print(f"FAILED  {title}\n        {problem}", flush=True)
            else:
                passed += 1
                print(f"ok      {title} ({time.monotonic() - started:.1f} s)", flush=True)
    print(f"\n{passed} passed, {failed} failed")
    return 0 if passed and not failed else 1


def main(argv: Optional[List[str]] = None) -> int:
    # As Ctrl-C: whatever ends this ends the servers, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run(parser().parse_args(argv))
    except (Problem, tools.Unavailable) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
