"""Starts what came out: the program says its version and its scheduler serves, as nobody and on a read-only root."""

from __future__ import annotations

import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from typing import Callable, List, Optional

from .problem import Problem, run
from .store import Store

PROGRAM = "/usr/local/bin/firesteel"
USER = "65532"
STARTS_WITHIN = 60.0
# $1: the root file system. A mount namespace of its own, so that what is mounted here is gone with the process.
READ_ONLY = f"""
set -eu
mount --make-rprivate /
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
mount -t proc proc "$1/proc"
mount -t tmpfs tmpfs "$1/tmp"
root=$1
shift
exec chroot --userspec={USER}:{USER} --groups= "$root" {PROGRAM} "$@"
"""


def by_buildah(store: Store, image: str) -> str:
    """What the program says of its version."""
    container = store.buildah("from", "--pull-never", image).strip()
    try:
        # That it ends well is enough: what a short program prints gets lost there now and then.
        version = ["--isolation", "chroot", "--user", f"{USER}:{USER}", container, "--", PROGRAM, "--version"]
        store.buildah("run", *version, failure=f"{image} does not start")
        mounted = store.buildah("mount", container).strip()
        try:
            said = run(_read_only(mounted, "--version"), f"{image} does not start on a read-only root")
            _serves(mounted)
        finally:
            store.buildah("umount", container)
    finally:
        store.buildah("rm", container)
    return said.strip()


def _read_only(root: str, *arguments: str) -> List[str]:
    return ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh", root, *arguments]


def _serves(root: str) -> None:
    port = free_port()
    with tempfile.TemporaryFile("w+") as log:
        child = subprocess.Popen(
            _read_only(root, "scheduler", "--bind-port", str(port)),
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        )
        try:
            until_healthy(f"http://127.0.0.1:{port}/healthz", lambda: child.poll() is None)
            child.send_signal(signal.SIGTERM)
            code = child.wait(40)
        except (Problem, subprocess.TimeoutExpired) as error:
            log.seek(0)
            raise Problem(f"the image's scheduler: {error}; its log ends with: {log.read()[-600:].strip()}") from error
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
    if code:
        raise Problem(f"the image's scheduler ended with {code} when it was asked to stop")


def by_engine(engine: str, image: str) -> str:
    """The same in containers of docker or podman."""
    strict = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    said = run([engine, "run", "--rm", *strict, image, "--version"], f"{image} does not start")
    serve = ["--detach", "--publish", "127.0.0.1::50050", *strict, image, "scheduler", "--bind-host", "0.0.0.0"]
    container = run([engine, "run", *serve], f"{image} does not start").strip()
    try:
        address = run([engine, "port", container, "50050/tcp"], "the scheduler has no port").splitlines()[0]

        def runs() -> bool:
            return run([engine, "inspect", "--format", "{{.State.Running}}", container], "it is gone").strip() == "true"

        try:
            until_healthy(f"http://{address}/healthz", runs)
        except Problem as error:
            log: List[str] = run([engine, "logs", container], "no log").splitlines()
            raise Problem(f"the image's scheduler: {error}; its log ends with: {' / '.join(log[-5:])}") from error
    finally:
        run([engine, "rm", "--force", container], f"the container {container[:12]} cannot be removed")
    return said.strip()


def until_healthy(url: str, runs: Callable[[], bool], seconds: float = STARTS_WITHIN) -> None:
    deadline = time.monotonic() + seconds
    last: Optional[Exception] = None
    while time.monotonic() < deadline:
        if not runs():
            raise Problem("it ended while it was starting")
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError) as error:
            last = error
        time.sleep(0.1)
    raise Problem(f"{url} does not answer after {seconds:.0f} s ({last})")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
