"""Addresses in settings, arguments and triggers: each names a Service, or one pod of a StatefulSet, and a port of it."""

from __future__ import annotations

import re
from typing import Iterator, List, Tuple

from .objects import Object, environment, find, name, of_kind, pods, title

# A host with at least one letter, and a port. Schemes, users and paths stand around it.
ADDRESS = re.compile(r"(?<![\w.$)-])([a-z][a-z0-9-]*(?:\.[a-z0-9-]+)*):(\d{2,5})\b(?!\.)")
# The API server, which is no object of ours.
ELSEWHERE = {"kubernetes.default.svc"}


def addresses(objects: List[Object]) -> List[str]:
    findings = []
    for who, text, own in _texts(objects):
        for host, port in ADDRESS.findall(text):
            beside = host == "localhost" and int(port) in own
            if not beside and host not in ELSEWHERE and not _leads(objects, host, int(port)):
                findings.append(f"{who}: {host}:{port} leads nowhere")
    return findings


def _texts(objects: List[Object]) -> Iterator[Tuple[str, str, List[int]]]:
    """(who says it, what, the ports beside it in the same pod)."""
    for pod in pods(objects):
        own = list(pod.ports().values())
        for container in pod.containers():
            who = f"{pod}/{container['name']}"
            for variable, value in environment(container, objects).items():
                # Listeners are addresses of the pod's own.
                if "LISTENERS" not in variable:
                    yield f"{who} {variable}", value, own
            for argument in container.get("args", []):
                if argument.startswith("--") and "packages" not in argument and "image" not in argument:
                    yield who, argument, own
    for item in of_kind(objects, "ScaledObject"):
        for trigger in item["spec"]["triggers"]:
            for value in trigger["metadata"].values():
                yield title(item), value, []


def _leads(objects: List[Object], host: str, port: int) -> bool:
    spaces = "|".join(name(item) for item in of_kind(objects, "Namespace"))
    host = re.sub(rf"\.(?:{spaces})\.svc(?:\.cluster\.local)?$", "", host)
    pod, _, service_name = host.rpartition(".")
    service = find(objects, "Service", service_name)
    if not service or port not in [one["port"] for one in service["spec"]["ports"]]:
        return False
    if not pod:
        return True
    owner, _, number = pod.rpartition("-")
    members = find(objects, "StatefulSet", owner)
    return bool(members) and members["spec"]["serviceName"] == service_name and int(number) < members["spec"]["replicas"]
