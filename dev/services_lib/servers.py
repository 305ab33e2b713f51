"""Where a server is to come from: looks first, then decides. `kafka` and `mongodb` each make one `Server` of this.

A server is asked in its own protocol, by the driver that its users have: one that accepts connections may not serve yet. The
drivers are fetched before the first question; until then nothing but Python's standard library is needed.
"""

from __future__ import annotations

import os
import platform
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, List, Optional, Union

from shared_lib.fetch import packages
from shared_lib.program import ROOT, Problem, say

from .daemon import Daemon, Running
from .settings import Address, Settings, show

NAMED_WITHIN = 10.0  # seconds that a server named by a setting has to answer
FOUND_WITHIN = 5.0  # and one that happens to be on the port
READY_WITHIN = 180.0  # and one that was started here; a first start on a busy machine takes about 15


class Silent(Exception):
    """Something listens there, and it does not answer as the server that is wanted; the text says what it did."""


@dataclass(frozen=True)
class Answer:
    """How a server answered, and what its user should know about it."""

    address: Address
    version: str
    warnings: List[str]


class Server:
    name: str
    title: str
    setting: str
    port_setting: str
    option: str  # that names the data folder on its command line

    def __init__(self, settings: Settings, named: Optional[str], port: int):
        self.settings, self.named, self.port = settings, named, port
        self.daemon = Daemon(self.name, self.option)

    def addresses(self) -> List[Address]:
        """Those that the setting names."""
        raise NotImplementedError

    def asked(self, address: Address, seconds: float) -> Answer:
        """How the server at `address` answers its driver. Raises whatever the driver raises."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Whether ours is ready; may bring it a step nearer. False for whatever goes wrong meanwhile."""
        raise NotImplementedError

    def prepare(self) -> Callable[[], List[str]]:
        """Fetches what it takes; what that gives makes the command line."""
        raise NotImplementedError

    def where(self) -> str:
        return self.named or f"{'mongodb://' if self.name == 'mongodb' else ''}127.0.0.1:{self.port}"

    def ask(self, addresses: List[Address], seconds: float) -> Optional[Answer]:
        """The answer of the first that answers. None: every one refuses the connection. Raises Silent."""
        failure: Optional[Exception] = None
        for address in addresses:
            try:
                socket.create_connection(address, seconds / len(addresses)).close()
                drivers()
                return self.asked(address, seconds / len(addresses))
            except ConnectionRefusedError:
                continue
            except Problem:
                raise
            except Exception as error:  # a driver has many ways to fail, and each of them is no answer
                failure = error
        if failure:
            raise Silent(str(failure).splitlines()[0][:200] if str(failure) else type(failure).__name__) from failure
        return None

    def answer_of_named(self) -> Answer:
        try:
            answer, why = self.ask(self.addresses(), NAMED_WITHIN), "the connection is refused"
        except Silent as error:
            answer, why = None, f"what is there does not answer as {self.title} ({error})"
        if answer is None:
            raise Problem(f"no {self.title} at {show(self.addresses())}, which {self.setting} names: {why}")
        return answer

    def look(self) -> Union[Running, Answer, None]:
        """Ours, one that is there already, or none. Raises Problem where the port is another's."""
        ours = self.daemon.running()
        if ours and ours.port != self.port:
            raise Problem(
                f"{self.title} of this checkout runs on port {ours.port}, "
                f"and {self.port_setting} asks for {self.port}: run `dev/services down` first"
            )
        if ours:
            return ours
        try:
            answer = self.ask([("127.0.0.1", self.port)], FOUND_WITHIN)
        except Silent:
            answer = None
        if answer is None and not port_is_free(self.port):
            raise Problem(
                f"port {self.port} is taken by something{port_owner(self.port)} that does not answer as {self.title}: "
                f"free it, or choose another port with {self.port_setting}"
            )
        return answer

    def start(self, command: List[str]) -> Callable[[], None]:
        """Starts ours; what it gives waits until it is ready."""
        say(self.name, f"starting on 127.0.0.1:{self.port}, log {self.daemon.log}")
        started = time.monotonic()
        child = self.daemon.start(command, self.port)

        def wait() -> None:
            self.daemon.wait_until_ready(self.ready, READY_WITHIN, child)
            say(self.name, f"ready after {time.monotonic() - started:.1f} s")

        return wait


def drivers() -> None:
    """Puts pymongo and kafka-python on the path."""
    packages("services", "the drivers of Kafka and MongoDB", ROOT / "dev/drivers.requirements.txt")


def check_platform() -> None:
    """Whether a mongod can be fetched for this machine: Kafka is Java, and its jars have what it needs for both processors."""
    system, machine = platform.system(), platform.machine()
    if system != "Linux" or machine not in ("x86_64", "aarch64"):
        raise Problem(
            f"without Docker the servers can be started on Linux only, on x86-64 and 64-bit ARM, and this is {system} {machine}: "
            "start Docker, or name running servers with FIRESTEEL_KAFKA_BOOTSTRAP and FIRESTEEL_MONGODB_URI"
        )


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
    for process in Path("/proc").glob("[0-9]*") if wanted else ():
        try:
            if any(os.readlink(fd) in wanted for fd in (process / "fd").iterdir()):
                return f" ({(process / 'comm').read_text().strip()}, pid {process.name})"
        except OSError:
            continue
    return ""
