"""`dev/pods`: the image, the stand-ins and the plan; then the scenario, and how much of it came out."""

from __future__ import annotations

import argparse
import os
import shutil
from typing import List, Optional

from image_lib.cli import REGISTRY, version
from image_lib.store import Store
from manifests import render
from shared_lib.program import Problem, cases, dev_dir, ended, require
from shared_lib.program import run as run_program

from . import images, machine
from .plan import Secrets, plan
from .scenario import Scenario

OVERLAY = "local"
DESCRIPTION = """Runs the pods of k8s/overlays/local as containers, with podman and as root, of the image that `dev/image
--local` left. Kafka's and MongoDB's images are stand-ins made of what `make services` fetches. The demo's images go in and
the report comes out; executors are scaled from one to three, and one is killed during a report. All of it is gone in the
end but the logs, in .dev/pods."""


def made() -> Secrets:
    """What the Job `credentials` makes in a cluster, by the binary that went into the image. Once: what is planned again is the same."""
    binary, folder = dev_dir() / "image/builder/out/firesteel", dev_dir() / "pods/credentials"
    if os.environ.get(machine.INSIDE) != "1":
        shutil.rmtree(folder, ignore_errors=True)
        if not binary.is_file():
            raise Problem("there is no image to run: run 'dev/image --local' first")
        run_program([str(binary), "make-credentials", "--dir", str(folder)], "no tokens and certificates can be made")
    secrets = {path.name: {file.name: file.read_text() for file in path.iterdir()} for path in folder.iterdir()}
    return {f"firesteel-{name}": files for name, files in secrets.items()}


def run(install: bool) -> int:
    store = Store()
    secrets = made()
    planned = plan(render.overlay(OVERLAY), {"executor": 3}, str(dev_dir() / "pods/volumes"), secrets)
    if os.environ.get(machine.INSIDE) != "1":
        # podman looks for netavark in a folder of its own.
        programs = ["podman", "crun", "catatonit", "/usr/lib/podman/netavark", "buildah", "ip", "iptables", "unshare"]
        require(programs, ["podman", "crun", "catatonit", "netavark", "buildah", "iproute2", "iptables"], install)
        if not store.has(f"{REGISTRY}firesteel:{version()}"):
            raise Problem("there is no image to run: run 'dev/image --local' first")
        wanted = {one["image"] for pod in planned for one in pod.manifest["spec"]["containers"]}
        for image in sorted(image for image in wanted if not image.startswith("firesteel:")):
            images.make(store, image)
    machine.enter()
    with machine.Machine(store) as here:
        machine.feasible(here, f"firesteel:{version()}")
        return cases(Scenario(here, planned, secrets).steps(), go_on=False)


def main(argv: Optional[List[str]] = None) -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="dev/pods", description=DESCRIPTION, formatter_class=raw)
    parser.add_argument("--install", action="store_true", help="install what is missing (Debian); also where CI=true")
    install = parser.parse_args(argv).install
    return ended(lambda: run(install), "no pod is left")
