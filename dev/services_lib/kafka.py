"""Kafka: how to ask one whether it serves, and how to run one of our own (KRaft, one node)."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import time
import uuid
from pathlib import Path
from typing import Callable, List, Optional

from . import fetch, kafka_wire
from .process import port_is_free, port_owner, say, tail
from .servers import FAILURES, FOUND_WITHIN, READY_WITHIN, Answer, Server, daemon, first, within
from .settings import CONTROLLER_PORT, KAFKA, KAFKA_PORT, Address, Problem, Settings, bootstrap_addresses, show


def server(settings: Settings) -> Server:
    return Server(
        name="kafka",
        title="Kafka",
        setting=KAFKA,
        port_setting=KAFKA_PORT,
        port=settings.kafka_port,
        named=settings.kafka_bootstrap,
        named_addresses=bootstrap_addresses(settings.kafka_bootstrap) if settings.kafka_bootstrap else [],
        daemon=daemon("kafka", "-Dfiresteel.dev.data", settings),
        ask=ask,
        ready=ready,
        prepare=lambda: _prepare(settings),
    )


def ask(addresses: List[Address], seconds: float) -> Optional[Answer]:
    found = first(addresses, seconds, kafka_wire.ask)
    if found is None:
        return None
    address, brokers = found
    warnings = []
    if not brokers:
        warnings.append(f"the Kafka at {show([address])} lists no broker: it is still starting")
    elif address not in brokers and not any(_accepts(broker) for broker in brokers[:3]):
        warnings.append(
            f"the Kafka at {show([address])} sends clients to {show(brokers[:3])}, where nothing answers: "
            "see its advertised.listeners"
        )
    return Answer(address, "", warnings)


def _accepts(address: Address) -> bool:
    try:
        within(2.0, lambda: socket.create_connection(address, 2.0).close())
    except OSError:
        return False
    return True


def ready(port: int) -> bool:
    try:
        return bool(kafka_wire.ask(("127.0.0.1", port), FOUND_WITHIN))
    except FAILURES:
        return False


def _prepare(settings: Settings) -> Callable[[], Callable[[], None]]:
    java = fetch.find_java()
    jars = fetch.kafka(settings.root, settings.dev_dir)
    controller = settings.controller_port
    if not port_is_free(controller):
        raise Problem(
            f"port {controller}, which Kafka's controller needs, is taken{port_owner(controller)}: "
            f"free it, or choose another port with {CONTROLLER_PORT}"
        )
    if any(mark in f"{jars}{settings.root}" for mark in ",:\\\n"):
        raise Problem(f"Kafka cannot run from {jars}: a comma, colon or backslash in a path means something else to it")
    run = [
        java,
        "-cp",
        f"{jars}/*",
        f"-Dlog4j2.configurationFile={(settings.root / 'dev/kafka/log4j2.properties').as_uri()}",
    ]
    run += ["-Djava.net.preferIPv4Stack=true", "-Djava.awt.headless=true"]
    _format(run, settings)
    return lambda: _start(run, settings)


def _start(run: List[str], settings: Settings) -> Callable[[], None]:
    process = server(settings).daemon
    properties = _properties(settings, settings.dev_dir / "data/kafka")
    say("kafka", f"starting on 127.0.0.1:{settings.kafka_port}, log {process.log}")
    started = time.monotonic()
    run = run + ["-Xms128m", "-Xmx512m", "-XX:+ExitOnOutOfMemoryError", process.marker]
    child = process.start(run + ["kafka.Kafka", str(properties)], settings.kafka_port)

    def wait() -> None:
        process.wait_until_ready(lambda: ready(settings.kafka_port), READY_WITHIN, child)
        say("kafka", f"ready after {time.monotonic() - started:.1f} s")

    return wait


def _properties(settings: Settings, data: Path) -> Path:
    text = (settings.root / "dev/kafka/server.properties.template").read_text()
    for name, value in (
        ("@PORT@", settings.kafka_port),
        ("@CONTROLLER_PORT@", settings.controller_port),
        ("@DATA@", data),
    ):
        text = text.replace(name, str(value))
    path = settings.dev_dir / f"config/{data.name}.properties"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def _format(run: List[str], settings: Settings) -> None:
    """Kafka's storage tool writes the cluster's id, once. In a folder that is renamed when whole."""
    data = settings.dev_dir / "data/kafka"
    if (data / "meta.properties").is_file():
        return
    if data.exists() and any(data.iterdir()):
        raise Problem(f"{data} holds something that is not Kafka's: move it away, or run `dev/services down --wipe`")
    fresh = data.with_name("kafka-fresh")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    say("kafka", f"formatting {data}")
    log = settings.dev_dir / "logs/kafka-format.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = run + ["-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format"]
    properties = _properties(settings, fresh)
    command += ["--cluster-id", _cluster_id(), "--config", str(properties)]
    with open(log, "wb") as output:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    if done.returncode or not (fresh / "meta.properties").is_file():
        raise Problem(f"Kafka could not format {data}; {log} ends with:\n{tail(log)}")
    if data.exists():
        data.rmdir()
    os.rename(fresh, data)
    properties.unlink()


def _cluster_id() -> str:
    """As Kafka makes them: 16 random bytes in URL-safe base64, not beginning with what would read as an option."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text
