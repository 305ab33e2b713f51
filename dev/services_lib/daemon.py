"""Processes that outlive this program: started detached, known by their pid files, stopped only when they are ours.

A pid file is written by the process itself, before it becomes the server, so there is no moment at which a server of
ours runs unrecorded, whatever happens to this program. A pid counts as ours only while /proc says that the process
carries the server's own data folder on its command line: pids are reused, and pid files survive a reboot.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, List, Optional

from shared_lib.program import POLL, Problem, dev_dir, say, tail

# $1: pid file, $2: port; the rest is the server. It gets every file descriptor that it may have.
LAUNCH = """
ulimit -n "$(ulimit -Hn)" 2>/dev/null
printf 'pid=%s\\nport=%s\\n' "$$" "$2" >"$1.new" && mv -f "$1.new" "$1" || exit 1
shift 2
exec "$@"
"""


@dataclass(frozen=True)
class Running:
    pid: int
    port: int


class Daemon:
    """One server of ours: `marker`, an option with its data folder, is an argument that no other process has."""

    def __init__(self, name: str, option: str):
        self.name = name
        self.marker = f"{option}={dev_dir() / 'data' / name}"
        self.pid_file = dev_dir() / f"run/{name}.pid"
        self.log = dev_dir() / f"logs/{name}.log"

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

    def start(self, command: List[str], port: int) -> "subprocess.Popen[bytes]":
        self.pid_file.parent.mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists():
            os.replace(self.log, f"{self.log}.1")  # one run's log, and the one before it
        with open(self.log, "wb") as log:
            return subprocess.Popen(
                ["/bin/sh", "-c", LAUNCH, "sh", str(self.pid_file), str(port), *command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd="/", start_new_session=True,
            )

    def wait_until_ready(self, ready: Callable[[], bool], seconds: float, child: "Optional[subprocess.Popen[bytes]]") -> None:
        """Asks `ready` until it says so. Notices at once when the process is gone; says so every few seconds."""
        started, next_word = time.monotonic(), 5.0
        while not ready():
            spent, how = time.monotonic() - started, ""
            if (child.poll() is not None) if child else (self.running() is None):
                how = f"{ending(child.returncode) if child else 'ended'} while it was starting"
            elif spent > seconds:
                how = f"is running and does not serve after {seconds:.0f} s"
            if how:
                raise Problem(f"{self.name} {how}; its log, {self.log}, ends with:\n{tail(self.log)}")
            if spent > next_word:
                say(self.name, f"still starting after {spent:.0f} s")
                next_word *= 2
            time.sleep(POLL)

    def stop(self, seconds: float = 30.0) -> Optional[bool]:
        """None: it was not running. True: it stopped when asked. False: it had to be killed."""
        found = self.running()
        number = signal.SIGTERM
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
    return f"ended with exit code {code}" if code >= 0 else f"was ended by signal {-code} ({signal.Signals(-code).name})"
