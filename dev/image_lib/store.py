"""buildah and podman with their images, containers and settings in a folder under .dev/, and nothing in /etc.

`chroot` isolation and the storage `vfs` work as root wherever a process may be started at all, also inside of a container.
The storage `overlay`, which copies no layer, is taken where such a file system can be mounted.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import tarfile
from pathlib import Path
from typing import Dict

from shared_lib.program import Problem, dev_dir, run

# crun as podman would call it, but for control groups: where a machine has both of their versions crun refuses to make any.
CRUN = '#!/bin/sh\nexec crun --cgroup-manager=disabled "$@"\n'


class Store:
    def __init__(self) -> None:
        self.folder = folder = dev_dir() / "containers"
        (folder / "runtime").mkdir(parents=True, exist_ok=True)
        (folder / "networks").mkdir(exist_ok=True)
        for name, text in (
            ("containers.conf", settings(folder)), ("storage.conf", storage(folder)), ("runtime/crun", CRUN)
        ):  # fmt: skip
            (folder / name).write_text(text)
        (folder / "runtime/crun").chmod(0o755)

    def environ(self) -> Dict[str, str]:
        names = {"CONTAINERS_CONF": "containers.conf", "CONTAINERS_STORAGE_CONF": "storage.conf"}
        return {**os.environ, "BUILDAH_ISOLATION": "chroot", **{key: str(self.folder / name) for key, name in names.items()}}

    def buildah(self, *arguments: str, failure: str = "buildah failed") -> str:
        return run(["buildah", *arguments], failure, environ=self.environ())

    def has(self, image: str) -> bool:
        listed = json.loads(self.buildah("images", "--json", failure="buildah cannot list its images") or "null") or []
        return any(image in (one.get("names") or []) for one in listed)

    def from_rootfs(self, rootfs: Path, image: str, *config: str) -> None:
        """An image of one layer. `config`: options of `buildah config`. The folder is gone at the end."""
        container = self.buildah("from", "scratch").strip()
        try:
            self.buildah("add", "--quiet", container, str(rootfs), "/", failure=f"{rootfs} cannot be added to an image")
            self.buildah("config", *config, container)
            self.buildah("commit", "--quiet", container, image)
        finally:
            self.buildah("rm", container)
            shutil.rmtree(rootfs)


def settings(folder: Path) -> str:
    """containers.conf. Limits are not raised above this process's own: that takes a capability that may be missing."""

    def limit(of: int, most: int) -> str:
        own = resource.getrlimit(of)[1]
        number = most if own == resource.RLIM_INFINITY else min(own, most)
        return f"{number}:{number}"

    return f"""[containers]
default_ulimits = ["nofile={limit(resource.RLIMIT_NOFILE, 65536)}", "nproc={limit(resource.RLIMIT_NPROC, 8192)}"]
pids_limit = 0
[engine]
runtime = "crun"
cgroup_manager = "cgroupfs"
events_logger = "file"
[engine.runtimes]
crun = ["{folder}/runtime/crun"]
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
"""


def storage(folder: Path) -> str:
    """storage.conf. Whether a folder can be laid over another here is asked by doing it in a mount namespace that is gone at once."""
    trial = folder / "trial"
    for name in ("lower", "upper", "work", "merged"):
        (trial / name).mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={trial}/lower,upperdir={trial}/upper,workdir={trial}/work"
    try:
        run(["unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o", options, f"{trial}/merged"], "no overlay")
        driver = "overlay"
    except Problem:
        driver = "vfs"
    shutil.rmtree(trial, ignore_errors=True)
    return f'[storage]\ndriver = "{driver}"\ngraphroot = "{folder}/{driver}"\nrunroot = "{folder}/run-{driver}"\n'


def layers(archive: Path) -> int:
    """Bytes of an image's layers, uncompressed, from its docker-archive."""
    with tarfile.open(archive) as tar:
        manifest = json.load(tar.extractfile("manifest.json"))
        return sum(tar.getmember(name).size for name in manifest[0]["Layers"])
