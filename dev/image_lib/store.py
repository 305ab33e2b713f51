"""buildah and podman with their images, containers and settings in a folder under .dev/, and nothing in /etc.

`chroot` isolation and the storage `vfs` work as root wherever a process may be started at all, also inside of a container.
The storage `overlay`, which copies no layer, is taken where such a file system can be mounted.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List

from .problem import ROOT, Problem, run

# crun as podman would call it, but for control groups: where a machine has both of their versions crun refuses to make any.
CRUN = '#!/bin/sh\nexec crun --cgroup-manager=disabled "$@"\n'


def dev_dir() -> Path:
    return Path(os.environ.get("FIRESTEEL_DEV_DIR") or ROOT / ".dev").resolve()


@dataclass(frozen=True)
class Store:
    folder: Path

    @staticmethod
    def open() -> "Store":
        store = Store(dev_dir() / "containers")
        store.folder.mkdir(parents=True, exist_ok=True)
        for name, text in (("containers.conf", settings(store.folder)), ("storage.conf", storage(store.folder))):
            (store.folder / name).write_text(text)
        runtime = store.folder / "runtime"
        (store.folder / "networks").mkdir(exist_ok=True)
        runtime.mkdir(exist_ok=True)
        (runtime / "crun").write_text(CRUN)
        (runtime / "crun").chmod(0o755)
        return store

    def environ(self) -> Dict[str, str]:
        return {
            **os.environ,
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
            "BUILDAH_ISOLATION": "chroot",
        }

    def buildah(self, *arguments: str, failure: str = "buildah failed") -> str:
        return run(["buildah", *arguments], failure, environ=self.environ())

    def has(self, image: str) -> bool:
        return image in self.images()

    def images(self) -> List[str]:
        listed = json.loads(self.buildah("images", "--json", failure="buildah cannot list its images") or "null") or []
        return [name for image in listed for name in image.get("names") or []]

    def from_rootfs(self, rootfs: Path, image: str, **config: str) -> None:
        """An image of one layer. `config`: options of `buildah config`, with _ for -."""
        container = self.buildah("from", "scratch").strip()
        try:
            self.buildah("add", "--quiet", container, str(rootfs), "/", failure=f"{rootfs} cannot be added to an image")
            options = [f"--{name.replace('_', '-')}={value}" for name, value in config.items()]
            if options:
                self.buildah("config", *options, container)
            self.buildah("commit", "--quiet", "--rm", container, image)
        except Problem:
            self.buildah("rm", container)
            raise

    def save(self, image: str, archive: Path) -> None:
        archive.unlink(missing_ok=True)
        self.buildah("push", "--quiet", image, f"docker-archive:{archive}:{image}", failure=f"{image} cannot be written")


def settings(folder: Path) -> str:
    """containers.conf. Limits are not raised above this process's own: that takes a capability that may be missing."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    processes = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    files = 65536 if files == resource.RLIM_INFINITY else min(files, 65536)
    processes = 8192 if processes == resource.RLIM_INFINITY else min(processes, 8192)
    return f"""[containers]
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]
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
    driver = "overlay" if overlays(folder / "trial") else "vfs"
    return f'[storage]\ndriver = "{driver}"\ngraphroot = "{folder}/{driver}"\nrunroot = "{folder}/run-{driver}"\n'


def overlays(folder: Path) -> bool:
    """Whether a folder can be laid over another here, asked by doing it in a mount namespace that is gone at once."""
    for name in ("lower", "upper", "work", "merged"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work"
    mount = ["unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o", options, f"{folder}/merged"]
    try:
        return subprocess.run(mount, capture_output=True).returncode == 0
    except OSError:
        return False
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def layers(archive: Path) -> int:
    """Bytes of an image's layers, uncompressed, from its docker-archive."""
    with tarfile.open(archive) as tar:
        manifest = json.load(tar.extractfile("manifest.json"))
        return sum(tar.getmember(name).size for name in manifest[0]["Layers"])
