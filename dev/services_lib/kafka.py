"""Kafka: how to ask one whether it serves, and how to run one of our own (KRaft, one node)."""

from __future__ import annotations

import base64
import logging
import os
import re
import shutil
import socket
import subprocess
import uuid
from pathlib import Path
from typing import Callable, List

from shared_lib import fetch
from shared_lib.program import ROOT, Problem, dev_dir, say, tail

from .servers import FOUND_WITHIN, Answer, Server, port_is_free, port_owner
from .settings import CONTROLLER_PORT, KAFKA, KAFKA_PORT, Address, Settings, bootstrap_addresses, show

HEAP = ["-Xms128m", "-Xmx512m", "-XX:+ExitOnOutOfMemoryError"]
# Java's second compiler takes a core-second and more to make a broker faster that spends its time in the kernel, and the collector
# for large heaps has threads of its own: a broker that shares two cores with everything else, for minutes, goes without.
FRUGAL = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
POM = ROOT / "dev/kafka/pom.xml"
# What Maven gave for it: another broker than this one is not started, whatever a registry gives.
SUMS = ROOT / "dev/kafka/jars.sha256"


class Kafka(Server):
    name, title, setting, port_setting, option = "kafka", "Kafka", KAFKA, KAFKA_PORT, "-Dfiresteel.dev.data"

    def __init__(self, settings: Settings):
        super().__init__(settings, settings.kafka_bootstrap, settings.kafka_port)

    def addresses(self) -> List[Address]:
        return bootstrap_addresses(self.named or "")

    def asked(self, address: Address, seconds: float) -> Answer:
        found = brokers(address, seconds)
        warnings = []
        if not found:
            warnings.append(f"the Kafka at {show([address])} lists no broker: it is still starting")
        elif address not in found and all(port_is_closed(broker) for broker in found[:3]):
            warnings.append(
                f"the Kafka at {show([address])} sends clients to {show(found[:3])}, where nothing answers: "
                "see its advertised.listeners"
            )
        return Answer(address, "", warnings)

    def ready(self) -> bool:
        try:
            answer = self.ask([("127.0.0.1", self.port)], FOUND_WITHIN)
        except Exception:  # a broker that starts fails in many ways, and they pass
            return False
        return bool(answer) and not answer.warnings

    def prepare(self) -> Callable[[], List[str]]:
        controller = self.settings.controller_port
        run = java_command()
        if not port_is_free(controller):
            raise Problem(
                f"port {controller}, which Kafka's controller needs, is taken{port_owner(controller)}: "
                f"free it, or choose another port with {CONTROLLER_PORT}"
            )
        self._format(run)
        return lambda: [*run, *HEAP, *FRUGAL, self.daemon.marker, "kafka.Kafka", str(self._properties(dev_dir() / "data/kafka"))]

    def _properties(self, data: Path) -> Path:
        text = (ROOT / "dev/kafka/server.properties.template").read_text()
        for name, value in (("@PORT@", self.port), ("@CONTROLLER_PORT@", self.settings.controller_port), ("@DATA@", data)):
            text = text.replace(name, str(value))
        path = dev_dir() / f"config/{data.name}.properties"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def _format(self, run: List[str]) -> None:
        """Kafka's storage tool writes the cluster's id, once. In a folder that is renamed when whole."""
        data = dev_dir() / "data/kafka"
        if (data / "meta.properties").is_file():
            return
        if data.exists() and any(data.iterdir()):
            raise Problem(f"{data} holds something that is not Kafka's: move it away, or run `dev/services down --wipe`")
        fresh, log = data.with_name("kafka-fresh"), dev_dir() / "logs/kafka-format.log"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        say("kafka", f"formatting {data}")
        properties = self._properties(fresh)
        storage(run, properties, fresh, log)
        if data.exists():
            data.rmdir()
        os.rename(fresh, data)
        properties.unlink()


def java_command() -> List[str]:
    """Java with Kafka's jars, for any of its programs."""
    java, jars = fetch.find_java(), fetched()
    if any(mark in f"{jars}{ROOT}" for mark in ",:\\\n"):
        raise Problem(f"Kafka cannot run from {jars}: a comma, colon or backslash in a path means something else to it")
    log4j = (ROOT / "dev/kafka/log4j2.properties").as_uri()
    return [java, "-cp", f"{jars}/*", f"-Dlog4j2.configurationFile={log4j}", "-Djava.net.preferIPv4Stack=true", "-Djava.awt.headless=true"]


def storage(run: List[str], properties: Path, data: Path, log: Path, *options: str) -> None:
    """Has Kafka's storage tool format `data`, which `properties` name."""
    # As Kafka makes them: 16 random bytes in URL-safe base64. One that begins with - would read as an option.
    identity = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")
    command = [*run, "-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format"]
    with open(log, "wb") as output:
        done = subprocess.run(
            [*command, "--cluster-id", identity, "--config", str(properties), *options],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )
    if done.returncode or not (data / "meta.properties").is_file():
        raise Problem(f"Kafka could not format {data}; {log} ends with:\n{tail(log)}")


def brokers(address: Address, seconds: float) -> List[Address]:
    """The addresses that a broker advertises; empty while it is still joining its own cluster."""
    from kafka.admin import KafkaAdminClient

    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    limit = int(seconds * 1000)
    client = KafkaAdminClient(bootstrap_servers=show([address]), bootstrap_timeout_ms=limit, request_timeout_ms=limit)
    try:
        return [(broker["host"], broker["port"]) for broker in client.describe_cluster()["brokers"]]
    finally:
        client.close()


def port_is_closed(address: Address) -> bool:
    try:
        socket.create_connection(address, 2.0).close()
    except OSError:
        return True
    return False


def version() -> str:
    match = re.search(r"<kafka\.version>([^<]+)<", POM.read_text())
    if not match:
        raise Problem("dev/kafka/pom.xml names no kafka.version")
    return match[1]


def fetched() -> Path:
    """The folder with Kafka's jars."""
    home = dev_dir() / "downloads" / f"kafka-{version()}-{fetch.digest(POM)}"
    return fetch.maven("kafka", f"Apache Kafka {version()} (45 MB)", POM, home, fetch.pinned(SUMS))
