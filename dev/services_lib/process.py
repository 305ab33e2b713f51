"""Processes that outlive this program: started detached, known by their pid files, stopped only when they are ours.

A pid file is written by the process itself, before it becomes the server, so there is no moment at which a server of
ours runs unrecorded, whatever happens to this program. A pid counts as ours only while /proc says that the process
carries the server's own data folder on its command line: pids are reused, and pid files survive a reboot.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional

from .settings import Problem, redact

POLL = 0.1
# $1: pid file, $2: port; the rest is the server. It gets every file descriptor that it may have.
LAUNCH = """
ulimit -n "$(ulimit -Hn)" 2>/dev/null
printf 'pid=%s\\nport=%s\\n' "$$" "$2" >"$1.new" && mv -f "$1.new" "$1" || exit 1
shift 2
exec "$@"
"""


def say(who: str, what: str) -> None:
    print(f"{who:<8} {redact(what)}", flush=True)


def export(values: Dict[str, str]) -> None:
    """Prints lines that set these for a shell: `eval "$(dev/... env)"`."""
    for name, value in values.items():
        print(f"export {name}={shlex.quote(value)}")


def leave_in_order() -> None:
    """Lets SIGTERM and SIGHUP end this program as an exit does, so that everything on the way out is put away."""

    def leave(number: int, _: object) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)


def ended(run: Callable[[], int], interrupted: str) -> int:
    """The exit code of a program that does `run`: what went wrong is said in a line, and `interrupted` after Ctrl-C."""
    leave_in_order()
    try:
        return int(run())
    except (Problem, OSError) as problem:
        print(f"error: {redact(str(problem))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\ninterrupted; {interrupted}", file=sys.stderr)
        return 128 + signal.SIGINT


@contextmanager
def saying(who: str, what: str, after: float = 1.5) -> Iterator[None]:
    """Says `what` only where the work inside takes long."""
    timer = threading.Timer(after, say, (who, what))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@dataclass(frozen=True)
class Running:
    pid: int
    port: int


@dataclass(frozen=True)
class Daemon:
    """One server of ours: `marker` is an argument that no other process has."""

    name: str
    marker: str
    pid_file: Path
    log: Path

    def running(self) -> Optional[Running]:
        try:
            fields = dict(line.split("=", 1) for line in self.pid_file.read_text().splitlines())
            found = Running(int(fields["pid"]), int(fields["port"]))
        except (OSError, ValueError, KeyError):
            return None
        return found if self._is_ours(found.pid) else None

    def _is_ours(self, pid: int) -> bool:
        try:
            return self.marker.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False

    def start(
        self, command: List[str], port: int, environ: Optional[Dict[str, str]] = None
    ) -> "subprocess.Popen[bytes]":
        self.pid_file.parent.mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists():
            os.replace(self.log, f"{self.log}.1")  # one run's log, and the one before it
        with open(self.log, "wb") as log:
            return subprocess.Popen(
                ["/bin/sh", "-c", LAUNCH, "sh", str(self.pid_file), str(port), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environ,
                cwd="/",
                start_new_session=True,
            )

    def wait_until_ready(
        self, ready: Callable[[], bool], seconds: float, child: "Optional[subprocess.Popen[bytes]]"
    ) -> None:
        """Asks `ready` until it says so. Notices at once when the process is gone; says so every few seconds."""
        started = time.monotonic()
        next_word = 5.0
        while not ready():
            if (child.poll() is not None) if child else (self.running() is None):
                how = ending(child.returncode) if child else "ended"
                raise Problem(
                    f"{self.name} {how} while it was starting; its log, {self.log}, ends with:\n{tail(self.log)}"
                )
            spent = time.monotonic() - started
            if spent > seconds:
                raise Problem(
                    f"{self.name} is running and does not serve after {seconds:.0f} s; "
                    f"its log, {self.log}, ends with:\n{tail(self.log)}"
                )
            if spent > next_word:
                say(self.name, f"still starting after {spent:.0f} s")
                next_word *= 2
            time.sleep(POLL)

    def stop(self, seconds: float = 30.0) -> Optional[bool]:
        """None: it was not running. True: it stopped when asked. False: it had to be killed."""
        found = self.running()
        if found:
            for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 10.0)):
                with suppress(ProcessLookupError):
                    os.kill(found.pid, number)
                deadline = time.monotonic() + patience
                while self._is_ours(found.pid) and time.monotonic() < deadline:
                    time.sleep(POLL)
                if not self._is_ours(found.pid):
                    break
            else:
                raise Problem(f"{self.name} (pid {found.pid}) does not end, even killed")
        self.pid_file.unlink(missing_ok=True)
        return None if not found else number == signal.SIGTERM


def ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was ended by signal {-code} ({signal.Signals(-code).name})"


def tail(path: Path, lines: int = 10, width: int = 300) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - 64 * 1024))
            text = file.read().decode(errors="replace")
    except OSError:
        return "  (no log)"
    return (
        "\n".join(f"  {redact(readable(line))[:width]}" for line in text.splitlines()[-lines:])
        or "  (the log is empty)"
    )


def readable(line: str) -> str:
    """mongod logs JSON; what it says is a small part of it."""
    try:
        entry = json.loads(line)
        return f"{entry['t']['$date']} {entry['s']} {entry['msg'].strip()} {json.dumps(entry.get('attr', ''))}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return line


@contextmanager
def only_one(lock: Path, program: str = "services") -> Iterator[None]:
    """Two runs that change things go one after the other. The kernel drops the lock with its holder."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say(program, f"another run of dev/{program} is at work: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do it: a connection that is winding down does not make a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return False
    return True


def port_owner(port: int) -> str:
    """` (python3, pid 123)` where /proc tells who listens on `port`, else nothing."""
    wanted = set()
    for table in ("tcp", "tcp6"):
        try:
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                field = line.split()
                if field[3] == "0A" and int(field[1].rpartition(":")[2], 16) == port:
                    wanted.add(f"socket:[{field[9]}]")
        except OSError:
            continue
    if wanted:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if any(os.readlink(fd) in wanted for fd in (process / "fd").iterdir()):
                    return f" ({(process / 'comm').read_text().strip()}, pid {process.name})"
            except OSError:
                continue
    return ""
