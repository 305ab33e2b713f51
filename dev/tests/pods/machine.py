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
from contextlib import suppress
from pathlib import Path
from typing import Dict

from image_lib.store import Store
from shared_lib.program import Problem, dev_dir, run, until

from .plan import NETWORK, Planned

INSIDE = "FIRESTEEL_DEV_PODS_INSIDE"
NETWORK_NAME = "firesteel"


def enter() -> None:
    """Goes on in namespaces of its own; returns inside of them."""
    if os.environ.get(INSIDE) != "1":
        if os.geteuid() != 0:
            raise Problem("pods are run as root here: networks and mounts are made for them")
        command = ["unshare", "--mount", "--net", sys.executable, *sys.argv]
        os.execvpe(command[0], command, {**os.environ, INSIDE: "1"})
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
        self.containers: Dict[str, str] = {}  # of each pod, which has one

    def __enter__(self) -> "Machine":
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "empty").mkdir(parents=True)
        self._clean()
        self.podman("network", "create", "--disable-dns", "--subnet", f"{NETWORK}.0/24", NETWORK_NAME)
        return self

    def __exit__(self, *_: object) -> None:
        for pod in list(self.containers):
            with suppress(Problem):
                self.remove(pod)
        self._clean()
        shutil.rmtree(self.folder / "volumes", ignore_errors=True)

    def _clean(self) -> None:
        for command in (["pod", "rm", "--all", "--force", "--time", "5"], ["network", "rm", "--force", NETWORK_NAME]):
            with suppress(Problem):
                self.podman(*command)

    def podman(self, *arguments: str) -> str:
        # In an empty folder: podman takes a folder that is named as an image for what to build it from.
        here = self.folder / "empty"
        return run(["podman", *arguments], f"podman {' '.join(arguments[:3])}", cwd=here, environ=self.store.environ())

    def start(self, pod: Planned) -> None:
        for path, files in pod.folders.items():
            Path(path).mkdir(parents=True, exist_ok=True)
            # As an emptyDir is: for whichever user the pod has.
            Path(path).chmod(0o777)
            for name, text in files.items():
                (Path(path) / name).write_text(text)
                if path in pod.private:
                    (Path(path) / name).chmod(0o600)
                    os.chown(Path(path) / name, pod.private[path], -1)
        manifest = self.folder / f"{pod.name}.json"
        manifest.write_text(json.dumps(pod.manifest, indent=1))
        self.containers[pod.name] = f"{pod.name}-{pod.manifest['spec']['containers'][0]['name']}"
        self.podman("kube", "play", "--network", NETWORK_NAME, "--ip", pod.address, str(manifest))

    def state(self, pod: str) -> Dict:
        return json.loads(self.podman("inspect", "--type", "container", self.containers[pod]))[0]["State"]

    def logs(self, pod: str) -> str:
        """Both streams of it."""
        done = subprocess.run(
            ["podman", "logs", self.containers[pod]], cwd=self.folder / "empty", env=self.store.environ(),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )
        return done.stdout

    def output(self, pod: str) -> str:
        return self.podman("logs", self.containers[pod])

    def finished(self, pod: str, seconds: float) -> bool:
        """Waits until a pod that runs to its end is there; whether it ended well."""
        until(lambda: self.state(pod)["Status"] in ("exited", "stopped"), seconds, lambda: f"{pod} runs on: {self.end_of_log(pod)}")
        return self.state(pod)["ExitCode"] == 0

    def remove(self, pod: str) -> None:
        with suppress(Problem):
            (self.folder / f"{pod}.log").write_text(self.logs(pod))
        self.podman("pod", "rm", "--force", pod)
        del self.containers[pod]

    def end_of_log(self, pod: str) -> str:
        return " / ".join(self.logs(pod).splitlines()[-3:])[:900]


def feasible(machine: Machine, image: str) -> None:
    """That the smallest pod runs; one sentence if it does not."""
    box = {"name": "a", "image": image, "args": ["--version"], "imagePullPolicy": "Never"}
    spec = {"restartPolicy": "Never", "containers": [box]}
    pod = Planned("trivial", f"{NETWORK}.250", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "trivial"}, "spec": spec})
    try:
        machine.start(pod)
        if not machine.finished("trivial", 30):
            raise Problem(machine.end_of_log("trivial"))
        machine.remove("trivial")
    except Problem as problem:
        raise Problem(f"podman runs no pods here: not even one that says its version ({problem})") from problem
