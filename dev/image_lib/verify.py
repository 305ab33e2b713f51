"""Starts what came out: the program says its version and its scheduler serves, as nobody and on a read-only root."""

from __future__ import annotations

import signal
import subprocess
import tempfile
import urllib.request
from typing import Callable, List

from shared_lib.program import Problem, free_port, run, until

from .debian import USER
from .store import Store

PROGRAM = "/usr/local/bin/firesteel"
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
    command = _read_only(root, "scheduler", "--bind-port", str(port))
    with tempfile.TemporaryFile("w+") as log:
        child = subprocess.Popen(
            command, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            _until_healthy(f"127.0.0.1:{port}", lambda: child.poll() is None)
            child.send_signal(signal.SIGTERM)
            code = child.wait(40)
        except (Problem, subprocess.TimeoutExpired) as error:
            log.seek(0)
            raise Problem(f"the image's scheduler: {error}; its log ends with: {log.read()[-600:].strip()}") from error
        finally:
            child.kill()
            child.wait()
    if code:
        raise Problem(f"the image's scheduler ended with {code} when it was asked to stop")


def by_engine(engine: str, image: str) -> str:
    """The same in containers of docker or podman."""
    strict = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    said = run([engine, "run", "--rm", *strict, image, "--version"], f"{image} does not start")
    serve = ["--detach", "--publish", "127.0.0.1::50050", *strict, image, "scheduler", "--bind-host", "0.0.0.0",
             "--insecure"]
    container = run([engine, "run", *serve], f"{image} does not start").strip()
    running = [engine, "inspect", "--format", "{{.State.Running}}", container]
    try:
        address = run([engine, "port", container, "50050/tcp"], "the scheduler has no port").splitlines()[0]
        _until_healthy(address, lambda: run(running, "it is gone").strip() == "true")
    except Problem as error:
        log = run([engine, "logs", container], "no log").splitlines()
        raise Problem(f"the image's scheduler: {error}; its log ends with: {' / '.join(log[-5:])}") from error
    finally:
        run([engine, "rm", "--force", container], f"the container {container[:12]} cannot be removed")
    return said.strip()


def _until_healthy(address: str, runs: Callable[[], bool]) -> None:
    def healthy() -> bool:
        if not runs():
            raise Problem("it ended while it was starting")
        return answers(f"http://{address}/healthz")

    until(healthy, 60, lambda: f"http://{address}/healthz does not answer")


def answers(url: str) -> bool:
    # Nothing outside is asked for anything, whatever the environment says of proxies.
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False
