"""What is done with the pods: the whole base comes up, the demo's images go through, executors come and one is killed.

A step that does not come out raises a Problem; each that does prints a line.
"""

from __future__ import annotations

import copy
import http.client
import json
import os
import signal
import socket
import ssl
import time
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from typing import Callable, Dict, List, Set

from image_lib.verify import answers
from shared_lib.program import Problem, until

from .machine import Machine
from .plan import Planned, Secrets

STARTS = 180.0
IMAGES = 4000
SENT = 3
DOCUMENTS = 2_000_000


class Scenario:
    def __init__(self, machine: Machine, pods: List[Planned], secrets: Secrets):
        self.machine = machine
        self.token = secrets["firesteel-access"]["reader"]
        self.sender = secrets["firesteel-ingest"]["sender"]
        self.trust = ssl.create_default_context(cadata=secrets["firesteel-ca"]["ca.crt"])
        self.pods = {pod.name: pod for pod in pods}

    def steps(self) -> List[tuple]:
        return [
            ("Kafka and MongoDB serve, and the replica set is made", self.servers),
            ("scheduler, executor, inference, the door for images and both consumers run", self.firesteel),
            (f"the producer's {IMAGES} images are in the report", self.demo),
            (f"{SENT} images sent by HTTP are in the report", self.door),
            ("who has no token gets no answer, nor who speaks in plain text", self.closed),
            ("two more executors register", self.scale),
            ("an executor is killed during a report, and the report is right", self.kill),
            ("whoever is asked to stop ends well", self.drain),
        ]

    def address(self, pod: str, port: int, scheme: str = "http") -> str:
        return f"{scheme}://{self.pods[pod].address}:{port}"

    def servers(self) -> None:
        for name in ("kafka-0", "mongodb-0"):
            self.machine.start(self.pods[name])
        for name, port in (("kafka-0", 9092), ("mongodb-0", 27017)):
            self._until(name, lambda: _open(self.pods[name].address, port))
        self._job("mongodb-initiate")

    def firesteel(self) -> None:
        names = ["scheduler-0", "executor-0", "inference-0", "ingest-0", "consume-images-0", "consume-predictions-0"]
        for name in names:
            self.machine.start(self.pods[name])
        self._until("scheduler-0", lambda: answers(self.address("scheduler-0", 50054) + "/readyz"))
        self._until("executor-0", lambda: answers(self.address("executor-0", 50053) + "/readyz"))
        self._until("inference-0", lambda: _open(self.pods["inference-0"].address, 50060))
        self._until("ingest-0", lambda: answers(self.address("ingest-0", 8091) + "/readyz"))
        for name in names:
            if self.machine.state(name)["Status"] != "running":
                raise Problem(f"{name} is {self.machine.state(name)['Status']}: {self.machine.end_of_log(name)}")

    def demo(self) -> None:
        self._job("producer", 120)
        deadline = time.monotonic() + 600
        seen = -1
        while seen < IMAGES:
            if time.monotonic() > deadline:
                log = self.machine.end_of_log("consume-images-0")
                raise Problem(f"{seen} of {IMAGES} images are in the report after 600 s; the consumer's log ends with: {log}")
            seen = self._report()["totals"]["images"]
        if seen != IMAGES:
            raise Problem(f"{seen} images are in the report, and {IMAGES} were sent")
        print(self._job("report"), flush=True)

    def door(self) -> None:
        # Each twice: a key makes one document of both.
        for number in [*range(SENT), *range(SENT)]:
            asked = urllib.request.Request(
                self.address("ingest-0", 8090, "https") + "/images?label=cat",
                data=_png(number),
                headers={"Authorization": f"Bearer {self.sender}", "Content-Type": "image/png", "Idempotency-Key": f"image-{number}"},
            )
            with self._direct().open(asked, timeout=60) as answer:
                if answer.status != 202 or "id" not in json.load(answer):
                    raise Problem(f"the door answers {answer.status}")
        seen: List[int] = []

        def counted() -> bool:
            seen.append(self._report()["totals"]["images"])
            return seen[-1] >= IMAGES + SENT

        self._until("consume-images-0", counted)
        if seen[-1] != IMAGES + SENT:
            raise Problem(f"{seen[-1]} images are in the report, and {IMAGES + SENT} were sent")

    def scale(self) -> None:
        for name in ("executor-1", "executor-2"):
            self.machine.start(self.pods[name])
            self._until(name, lambda: answers(self.address(name, 50053) + "/readyz"))
        self._until("scheduler-0", lambda: len(self._executors()) == 3)

    def kill(self) -> None:
        # More than the demo has, and read rather than asked of MongoDB: so that there is a while in which to kill.
        self._job("seed", 300, self._like("report", "seed", ["seed", f"--docs={DOCUMENTS}", "--producers=8", "--append"]))
        off = {"FIRESTEEL_AGGREGATE_PUSHDOWN": "off"}
        pod = self._like("report", "report-killed", ["report", "--format=json"], off)
        processes = {name: int(self.machine.state(name)["Pid"]) for name in ("executor-0", "executor-1", "executor-2")}
        idle = {name: _worked(process) for name, process in processes.items()}
        before = self._executors()
        self.machine.start(pod)
        deadline = time.monotonic() + 60
        # The one that works most, at once: the whole report takes a second or two.
        while True:
            if time.monotonic() > deadline:
                raise Problem(f"no report ran within 60 s: {self.machine.end_of_log(pod.name)}")
            worked, victim = max((_worked(process) - idle[name], name) for name, process in processes.items())
            if worked >= 0.1 and self._scheduler("/api/firesteel/cluster")["tasks"]["running"] > 0:
                os.kill(processes[victim], signal.SIGKILL)
                break
            time.sleep(0.01)
        if not self.machine.finished(pod.name, 180):
            raise Problem(f"the report failed: {self.machine.end_of_log(pod.name)}")
        total = json.loads(self.machine.output(pod.name))["totals"]["images"]
        if total != IMAGES + SENT + DOCUMENTS:
            raise Problem(f"the report counts {total}, and there are {IMAGES + SENT + DOCUMENTS}")
        # Its pod starts it again, as another executor.
        self._until(victim, lambda: len(self._executors()) == 3 and len(before - self._executors()) == 1, 60)

    def drain(self) -> None:
        for name in ("consume-images-0", "executor-0", "scheduler-0"):
            container = self.machine.containers[name]
            seconds = self.pods[name].manifest["spec"]["terminationGracePeriodSeconds"]
            self.machine.podman("stop", "--time", str(seconds), container)
            code = self.machine.state(name)["ExitCode"]
            if code:
                raise Problem(f"{name} ended with {code}: {self.machine.end_of_log(name)}")

    def _job(self, name: str, seconds: float = 120, pod: Planned = None) -> str:
        """What a pod that runs to its end prints. It is run again where it fails, as Kubernetes does: a report fails, for one,
        until there is a first prediction."""
        deadline = time.monotonic() + seconds
        while True:
            self.machine.start(pod or self.pods[name])
            well = self.machine.finished(name, seconds)
            said = self.machine.output(name) if well else self.machine.end_of_log(name)
            self.machine.remove(name)
            if well:
                return said
            if time.monotonic() > deadline:
                raise Problem(f"{name} fails: {said}")

    def _report(self) -> Dict:
        return json.loads(self._job("report-json", 120, self._like("report", "report-json", ["report", "--format=json"])))

    def _like(self, name: str, new: str, arguments: List[str], environment: Dict[str, str] = {}) -> Planned:
        """The pod `name` under another name, with other arguments."""
        pod = copy.deepcopy(self.pods[name])
        pod.name = pod.manifest["metadata"]["name"] = pod.manifest["spec"]["hostname"] = new
        [container] = pod.manifest["spec"]["containers"]
        container["args"] = arguments
        container["env"] += [{"name": key, "value": value} for key, value in environment.items()]
        return pod

    def _scheduler(self, route: str) -> Dict:
        asked = urllib.request.Request(
            self.address("scheduler-0", 50050, "https") + route, headers={"Authorization": f"Bearer {self.token}"}
        )
        with self._direct().open(asked, timeout=10) as answer:
            return json.load(answer)

    def _direct(self) -> urllib.request.OpenerDirector:
        # Nothing outside is asked for anything, whatever the environment says of proxies.
        return urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self.trust))

    def closed(self) -> None:
        """Whoever shows no token gets no answer, and in plain text there is none at all."""
        direct = self._direct()
        for pod, port, route in (("scheduler-0", 50050, "/api/executors"), ("ingest-0", 8090, "/images")):
            try:
                direct.open(self.address(pod, port, "https") + route, timeout=10).close()
                raise Problem(f"{pod} answers without a token")
            except urllib.error.HTTPError as error:
                if error.code != 401:
                    raise Problem(f"{pod} answers {error.code} without a token") from error
        ports = (("scheduler-0", 50050), ("executor-0", 50051), ("executor-0", 50052), ("inference-0", 50060), ("ingest-0", 8090))
        for pod, port in ports:
            try:
                direct.open(self.address(pod, port), timeout=10).close()
            except (OSError, http.client.HTTPException):  # an alert of TLS is no answer
                continue
            raise Problem(f"{pod} answers on {port} in plain text")

    def _executors(self) -> Set[str]:
        return {one["id"] for one in self._scheduler("/api/executors")}

    def _until(self, pod: str, done: Callable[[], bool], seconds: float = STARTS) -> None:
        until(done, seconds, lambda: f"the log of {pod} ends with: {self.machine.end_of_log(pod)}")


def _open(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 2).close()
        return True
    except OSError:
        return False


def _png(number: int) -> bytes:
    """An image of 32 × 32 pixels of one colour."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = (32).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    rows = (b"\0" + bytes([number, 128, 255 - number]) * 32) * 32
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _worked(process: int) -> float:
    """Seconds of processor time."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
