"""Where a server is to come from: looks first, then decides in a pure function (`source`).

`Server` is all that the command line knows of Kafka or of MongoDB; `kafka.py` and `mongodb.py` each make one.
"""

from __future__ import annotations

import enum
import platform
import threading
from dataclasses import dataclass
from typing import Any, Callable, List, Optional, Tuple

from .kafka_wire import NotKafka
from .mongodb_wire import CommandFailed, NotMongodb
from .process import Daemon, Running, port_is_free, port_owner, saying
from .settings import Address, Problem, Settings, show

NAMED_WITHIN = 10.0  # seconds that a server named by a setting has to answer
FOUND_WITHIN = 5.0  # and one that happens to be on the port
READY_WITHIN = 180.0  # and one that was started here; a first start on a busy machine takes about 15

FOREIGN = (NotKafka, NotMongodb)
FAILURES = (OSError, CommandFailed, *FOREIGN)


@dataclass(frozen=True)
class Answer:
    """How a server answered, and what its user should know about it."""

    address: Address
    version: str
    warnings: List[str]


@dataclass(frozen=True)
class Server:
    name: str
    title: str
    setting: str
    port_setting: str
    port: int
    named: Optional[str]  # the setting's value
    named_addresses: List[Address]
    daemon: Daemon
    # Asks the first of these addresses that answers. None: every one refuses. Raises one of FAILURES.
    ask: Callable[[List[Address], float], Optional[Answer]]
    # Whether a server of ours on this port is ready; may bring it a step nearer. Never raises one of FAILURES.
    ready: Callable[[int], bool]
    # Fetches what it takes; then starts it; then waits until it is ready. Each step gives the next.
    prepare: Callable[[], Callable[[], Callable[[], None]]]

    def where(self) -> str:
        return self.named or f"{'mongodb://' if self.name == 'mongodb' else ''}127.0.0.1:{self.port}"

    def answer_of_named(self) -> Answer:
        try:
            answer = self.ask(self.named_addresses, NAMED_WITHIN)
            why = "the connection is refused"
        except FOREIGN:
            answer, why = None, f"what listens there does not answer as {self.title}"
        except FAILURES as error:
            answer, why = None, reason(error)
        if answer is None:
            raise Problem(f"no {self.title} at {show(self.named_addresses)}, which {self.setting} names: {why}")
        return answer

    def look(self) -> "Tuple[Seen, Optional[Answer]]":
        ours = self.daemon.running()
        if ours:
            return Seen(ours, Port.FREE), None
        try:
            with saying(self.name, f"something listens on port {self.port}: waiting for it to answer as {self.title}"):
                answer = self.ask([("127.0.0.1", self.port)], FOUND_WITHIN)
        except FAILURES:
            return Seen(None, Port.FOREIGN, port_owner(self.port)), None
        if answer:
            return Seen(None, Port.SERVES), answer
        if not port_is_free(self.port):
            return Seen(None, Port.FOREIGN, port_owner(self.port)), None
        return Seen(None, Port.FREE), None


class Port(enum.Enum):
    FREE = "free"
    SERVES = "the wanted server is there"
    FOREIGN = "something else is there, or something that hangs"


@dataclass(frozen=True)
class Seen:
    """All that the decision about one server rests on."""

    ours: Optional[Running]
    port: Port
    owner: str = ""


class Source(enum.Enum):
    OURS = "started by an earlier run"
    FOUND = "there already"
    MISSING = "to be started"


def source(server: Server, seen: Seen) -> Source:
    if seen.ours and seen.ours.port != server.port:
        raise Problem(
            f"{server.title} of this checkout runs on port {seen.ours.port}, "
            f"and {server.port_setting} asks for {server.port}: run `dev/services down` first"
        )
    if seen.ours:
        return Source.OURS
    if seen.port is Port.FOREIGN:
        raise Problem(
            f"port {server.port} is taken by something{seen.owner} that does not answer as {server.title}: "
            f"free it, or choose another port with {server.port_setting}"
        )
    return Source.FOUND if seen.port is Port.SERVES else Source.MISSING


def first(addresses: List[Address], seconds: float, ask: Callable[[Address, float], Any]) -> Any:
    """(address, answer) of the first that answers, None where all refuse."""

    def each() -> Any:
        failure: Optional[Exception] = None
        for address in addresses:
            try:
                return address, ask(address, seconds / len(addresses))
            except ConnectionRefusedError:
                continue
            except FAILURES as error:
                failure = error
        if failure:
            raise failure
        return None

    return within(seconds, each)


def reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def within(seconds: float, work: Callable[[], Any]) -> Any:
    """What `work` returns or raises, or TimeoutError. A thread, because nothing else bounds a name look-up."""
    result: List[Any] = []
    failure: List[BaseException] = []

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failure:
        raise failure[0]
    if not result:
        raise TimeoutError(f"no answer within {seconds:.0f} s")
    return result[0]


def daemon(name: str, option: str, settings: Settings) -> Daemon:
    """The server's data folder, as an option on its command line, tells our process from any other."""
    marker = f"{option}={settings.dev_dir / 'data' / name}"
    return Daemon(name, marker, settings.dev_dir / f"run/{name}.pid", settings.dev_dir / f"logs/{name}.log")


def check_platform() -> None:
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ("Linux", "x86_64"):
        raise Problem(
            f"without Docker the servers can be started on x86-64 Linux only, and this is {system} {machine}: "
            "start Docker, or name running servers with FIRESTEEL_KAFKA_BOOTSTRAP and FIRESTEEL_MONGODB_URI"
        )
