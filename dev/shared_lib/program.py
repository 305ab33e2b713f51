"""How every program of dev/ behaves: what is wrong is one sentence, no password is printed, and .dev/ holds what is made."""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Tuple

ROOT = Path(__file__).resolve().parents[2]
POLL = 0.1


class Problem(Exception):
    """Something the user can act on: one clear sentence, printed as it is (less its passwords)."""


def dev_dir() -> Path:
    return (ROOT / (os.environ.get("FIRESTEEL_DEV_DIR") or ".dev")).resolve()


def redact(text: str) -> str:
    """Takes users, passwords and tokens out of whatever URLs `text` holds. Rather too much than too little."""
    text = re.sub(r"://\S*@", "://***@", text)
    return re.sub(r"(?i)(password|token|secret)([=:])[^&\s,]+", r"\1\2***", text)


def say(who: str, what: str) -> None:
    print(f"{who:<8} {redact(what)}", flush=True)


def export(values: Dict[str, str]) -> None:
    """Prints lines that set these for a shell: `eval "$(dev/... env)"`."""
    for name, value in values.items():
        print(f"export {name}={shlex.quote(value)}")


def ended(run: Callable[[], Optional[int]], interrupted: str = "nothing half made is left") -> int:
    """The exit code of a program that does `run`. SIGTERM and SIGHUP end it as an exit does, so that all is put away."""

    def leave(number: int, _: object) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    try:
        return int(run() or 0)
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (Problem, OSError) as problem:
        print(f"error: {redact(str(problem))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\ninterrupted; {interrupted}", file=sys.stderr)
        return 128 + signal.SIGINT


def run(command: List[str], failure: str, cwd: Optional[Path] = None, environ: Optional[Dict[str, str]] = None) -> str:
    """The output of another program; its last words where it fails."""
    try:
        done = subprocess.run(
            command, cwd=cwd, env=environ, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL
        )
    except OSError as error:
        raise Problem(f"{failure}: {error}") from error
    if done.returncode:
        words = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise Problem(f"{failure}: {' / '.join(words[-3:]) or f'exit code {done.returncode}'}")
    return done.stdout


def until(done: Callable[[], bool], seconds: float, why: Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise Problem(f"not within {seconds:.0f} s: {why()}")
        time.sleep(POLL)


def cases(rows: List[Tuple[str, Callable[[], None]]], go_on: bool) -> int:
    """Does each (title, step) and says how it went; ends after the first that fails unless `go_on`. The exit code."""
    passed = failed = 0
    for title, step in rows:
        started = time.monotonic()
        try:
            step()
        except (Problem, ValueError) as problem:
            failed += 1
            print(f"FAILED  {title}\n        {problem}", flush=True)
            if not go_on:
                break
        else:
            passed += 1
            print(f"ok      {title} ({time.monotonic() - started:.1f} s)", flush=True)
    print(f"\n{passed} passed, {failed} failed")
    return 0 if passed and not failed else 1


@contextmanager
def only_one(program: str) -> Iterator[None]:
    """Two runs that change things go one after the other. The kernel drops the lock with its holder."""
    lock = dev_dir() / f"run/{program}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say(program, f"another run of dev/{program} is at work: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def require(programs: List[str], packages: List[str], install: bool) -> None:
    """Installs Debian's `packages` where one of `programs` is missing and that is wanted, or in CI; else says so."""
    missing = [program for program in programs if not shutil.which(program)]
    if not missing:
        return
    if not install and os.environ.get("CI") != "true":
        raise Problem(
            f"this needs {', '.join(missing)}: run 'apt-get install --no-install-recommends {' '.join(packages)}', "
            "or this with --install"
        )
    if not shutil.which("apt-get"):
        raise Problem(f"this needs {', '.join(missing)}, and only Debian's packages can be installed from here")
    print(f"installing {' '.join(packages)}", flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update", "-qq"], "apt-get update failed", environ=quiet)
    command = ["apt-get", "install", "-qq", "--yes", "--no-install-recommends", *packages]
    run(command, f"apt-get cannot install {' '.join(packages)}", environ=quiet)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def tail(path: Path, lines: int = 10, width: int = 400) -> str:
    """The end of a log."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - 64 * 1024))
            text = file.read().decode(errors="replace")
    except OSError:
        return "  (no log)"
    return "\n".join(f"  {redact(line)[:width]}" for line in text.splitlines()[-lines:]) or "  (the log is empty)"
