"""`dev/pods`: the image, the stand-ins and the plan; then the story, and how much of it came out."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import List, Optional

from image_lib.cli import REGISTRY, require, version
from image_lib.problem import Problem
from image_lib.store import Store, dev_dir
from k8s_lib import render, tools

from . import images, machine
from .plan import plan
from .story import Story

OVERLAY = "local"
DESCRIPTION = """Runs the pods of k8s/overlays/local as containers, with podman and as root, of the image that `dev/image
--local` left. Kafka's and MongoDB's images are stand-ins made of what `make services` fetches. The demo's images go in and
the report comes out; executors are scaled from one to three, and one is killed during a report. All of it is gone in the
end but the logs, in .dev/pods."""


def parser() -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog="dev/pods", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def arguments(argv: Optional[List[str]]) -> argparse.Namespace:
    found = parser()
    found.add_argument("--install", action="store_true", help="install what is missing (Debian); also where CI=true")
    return found.parse_args(argv)


def run(install: bool) -> int:
    store = Store.open()
    objects = render.overlay(OVERLAY)
    planned = plan(objects, {"executor": 3}, str(dev_dir() / "pods/volumes"))
    if os.environ.get(machine.INSIDE) != "1":
        # podman looks for netavark in a folder of its own.
        programs = ["podman", "crun", "catatonit", "/usr/lib/podman/netavark", "buildah", "ip", "iptables", "unshare"]
        packages = ["podman", "crun", "catatonit", "netavark", "buildah", "iproute2", "iptables"]
        require(programs, packages, install)
        if not store.has(f"{REGISTRY}firesteel:{version()}"):
            raise Problem("there is no image to run: run 'dev/image --local' first")
        wanted = {one["image"] for pod in planned for one in pod.manifest["spec"]["containers"]}
        for image in sorted(wanted):
            if not image.startswith("firesteel:"):
                images.make(store, image)
    machine.enter()
    with machine.Machine(store) as here:
        machine.feasible(here, f"firesteel:{version()}")
        story = Story(here, planned)
        failed = story.run()
    print(f"\n{story.passed} passed, {failed} failed")
    return 1 if failed else 0


def main(argv: Optional[List[str]] = None) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    found = arguments(argv)
    try:
        return run(found.install or os.environ.get("CI") == "true")
    except (Problem, ValueError, tools.Unavailable) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
