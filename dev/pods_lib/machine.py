"""Runs planned pods with podman, in a mount and a network namespace of their own: no bridge, no rule and no mount is left.

podman needs control groups of one version. Where a machine has both, the namespace sees only the second one's mount, in
which nothing is limited: what holds for this process goes on to hold for the containers.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Callable, Dict, List

from image_lib.problem import Problem, run
from image_lib.store import Store, dev_dir

from .plan import NETWORK, Planned

INSIDE = "FIRESTEEL_DEV_PODS_INSIDE"
NETWORK_NAME = "firesteel"
TRIVIAL = "trivial"
# Nothing outside is asked for anything, whatever the environment says of proxies.
ASK = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def enter() -> None:
    """Goes on in namespaces of its own; returns inside of them."""
    if os.environ.get(INSIDE) != "1":
        if os.geteuid() != 0:
            raise Problem("pods are run as root here: networks and mounts are made for them")
        os.execvpe(
            "unshare", ["unshare", "--mount", "--net", sys.executable, *sys.argv], {**os.environ, INSIDE: "1"}
        )
    run(["mount", "--make-rprivate", "/"], "the mounts cannot be made private")
    run(["ip", "link", "set", "lo", "up"], "the loopback cannot be brought up")
    if Path("/sys/fs/cgroup/unified").is_dir():
        run(["umount", "--recursive", "/sys/fs/cgroup"], "control groups cannot be unmounted")
        run(["mount", "-t", "cgroup2", "none", "/sys/fs/cgroup"], "control groups of version 2 cannot be mounted")


class Machine:
    """`with Machine(store) as machine:` and at the end no pod, no network and no volume is left."""

    def __init__(self, store: Store):
        self.store = store
        self.folder = dev_dir() / "pods"
        self.pods: List[str] = []

    def __enter__(self) -> "Machine":
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "empty").mkdir(parents=True)
        self._clean()
        self.podman("network", "create", "--disable-dns", "--subnet", f"{NETWORK}.0/24", NETWORK_NAME)
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.pods:
            with suppress(Problem):
                (self.folder / f"{name}.log").write_text(self.logs(name))
        self._clean()
        shutil.rmtree(self.folder / "volumes", ignore_errors=True)

    def _clean(self) -> None:
        with suppress(Problem):
            self.podman("pod", "rm", "--all", "--force", "--time", "5")
        with suppress(Problem):
            self.podman("network", "rm", "--force", NETWORK_NAME)

    def podman(self, *arguments: str) -> str:
        # In an empty folder: podman takes a folder that is named as an image for what to build it from.
        return run(
            ["podman", *arguments], f"podman {' '.join(arguments[:3])}", cwd=self.folder / "empty", environ=self.store.environ()
        )

    def start(self, pod: Planned) -> None:
        for path, files in pod.folders.items():
            Path(path).mkdir(parents=True, exist_ok=True)
            # As an emptyDir is: for whichever user the pod has.
            Path(path).chmod(0o777)
            for name, text in files.items():
                (Path(path) / name).write_text(text)
        manifest = self.folder / f"{pod.name}.json"
        manifest.write_text(json.dumps(pod.manifest, indent=1))
        self.pods.append(pod.name)
        self.podman("kube", "play", "--network", NETWORK_NAME, "--ip", pod.address, str(manifest))

    def container(self, pod: str) -> str:
        """The name of a pod's only container."""
        found = json.loads((self.folder / f"{pod}.json").read_text())
        return f"{pod}-{found['spec']['containers'][0]['name']}"

    def state(self, pod: str) -> Dict:
        return json.loads(self.podman("inspect", "--type", "container", self.container(pod)))[0]["State"]

    def logs(self, pod: str) -> str:
        """Both streams of it."""
        done = subprocess.run(
            ["podman", "logs", self.container(pod)], cwd=self.folder / "empty", env=self.store.environ(),
            capture_output=True, text=True, errors="replace",
        )
        return done.stdout + done.stderr

    def output(self, pod: str) -> str:
        return self.podman("logs", self.container(pod))

    def finished(self, pod: str, seconds: float) -> bool:
        """Waits until a pod that runs to its end is there; whether it ended well."""
        until(lambda: self.state(pod)["Status"] in ("exited", "stopped"), seconds, lambda: f"{pod} runs on: {self.end_of_log(pod)}")
        return self.state(pod)["ExitCode"] == 0

    def remove(self, pod: str) -> None:
        with suppress(Problem):
            (self.folder / f"{pod}.log").write_text(self.logs(pod))
        self.podman("pod", "rm", "--force", pod)
        self.pods.remove(pod)

    def process(self, pod: str) -> int:
        return int(self.state(pod)["Pid"])

    def end_of_log(self, pod: str) -> str:
        return " / ".join(self.logs(pod).splitlines()[-3:])[:900]


def feasible(machine: Machine, image: str) -> None:
    """That the smallest pod runs; one sentence if it does not."""
    pod = Planned(TRIVIAL, "", f"{NETWORK}.250", {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": TRIVIAL},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": image, "args": ["--version"], "imagePullPolicy": "Never"}]},
    })
    try:
        machine.start(pod)
        if not machine.finished(TRIVIAL, 30):
            raise Problem(machine.end_of_log(TRIVIAL))
        machine.remove(TRIVIAL)
    except Problem as problem:
        raise Problem(f"podman runs no pods here: not even one that says its version ({problem})") from problem


def answers(url: str) -> bool:
    try:
        with ASK.open(url, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def fetched(url: str) -> Dict:
    with ASK.open(url, timeout=10) as answer:
        return json.load(answer)


def until(done: Callable[[], bool], seconds: float, why: Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise Problem(f"not within {seconds:.0f} s: {why()}")
        time.sleep(0.1)
