"""Ports and probes of our own containers, against what the program serves."""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple

from . import source
from .objects import LASTING, Object, Pod, environment, firesteel, pods

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def ours(objects: List[Object]) -> List[Tuple[Pod, Object, Dict[str, str]]]:
    found = []
    for pod in pods(objects):
        for container in pod.containers():
            if firesteel(container):
                found.append((pod, container, environment(container, objects)))
    return found


def role(container: Object) -> str:
    return (container.get("args") or [""])[0]


def settings(objects: List[Object], known: set) -> List[str]:
    """The binary refuses a variable FIRESTEEL_… that it does not know: so do we, earlier."""
    findings = []
    for pod, container, variables in ours(objects):
        for name in variables:
            if name.startswith("FIRESTEEL_") and name not in known:
                findings.append(f"{pod}/{container['name']}: {name} is no setting")
    return findings


def ports(objects: List[Object]) -> List[str]:
    """A container names the ports that its arguments make the program listen on, all of them, and is reached from outside."""
    findings = []
    for pod, container, variables in ours(objects):
        who, what = f"{pod}/{container['name']}", source.ROLES.get(role(container))
        if what is None:
            findings.append(f"{who}: {role(container) or 'nothing'} is no subcommand with a row in source.ROLES")
            continue
        named = {port["containerPort"] for port in container.get("ports", [])}
        listens = set(listening(container, variables).values())
        if named != listens:
            findings.append(f"{who}: names the ports {sorted(named)} and listens on {sorted(listens)}")
        # No default reaches beyond the loopback, so it has to be said.
        bound = {source.value(container, variables, port.flag, port.env) for port in what.ports if port.address} - {None}
        bound |= {source.value(container, variables, what.bind, "") or "the loopback"} if what.bind else set()
        findings += [f"{who}: listens on {one} only" for one in sorted(bound) if not one.startswith("0.0.0.0")]
    return findings


def listening(container: Object, variables: Dict[str, str]) -> Dict[source.Port, int]:
    found = {}
    for port in source.ROLES[role(container)].ports:
        text = source.value(container, variables, port.flag, port.env)
        number = int((text or "").rsplit(":", 1)[-1] or 0)
        if number:
            found[port] = number
    return found


def probes(objects: List[Object]) -> List[str]:
    """What runs on has probes, and each asks what is served there."""
    findings = []
    for pod in pods(objects):
        names = pod.ports()
        for container in pod.spec.get("containers", []):
            who, own = f"{pod}/{container['name']}", firesteel(container)
            wanted = pod.kind in LASTING
            for kind in PROBES:
                probe = container.get(kind)
                if not probe:
                    if wanted and (own or kind != "startupProbe"):
                        findings.append(f"{who}: has no {kind}")
                    continue
                http, grpc, tcp = probe.get("httpGet"), probe.get("grpc"), probe.get("tcpSocket")
                asked = http or grpc or tcp
                number = names.get(asked["port"], asked["port"]) if asked else None
                if asked and number not in names.values():
                    findings.append(f"{who}: its {kind} asks port {number}, which it does not name")
                elif own and (http or grpc) and role(container) in source.ROLES:
                    findings += _answers(who, kind, container, environment(container, objects), number, http)
                elif own:
                    findings.append(f"{who}: its {kind} only asks whether a port is open")
            live = container.get("livenessProbe", {}).get("httpGet", {})
            if own and live.get("path") == "/readyz":
                findings.append(f"{who}: is killed for what others do not answer")
    return findings


def _answers(
    who: str, kind: str, container: Object, variables: Dict[str, str], number: Optional[int], http: Optional[Object]
) -> List[str]:
    for port, listens in listening(container, variables).items():
        if listens != number:
            continue
        if http and (not port.routes or http["path"] not in source.routes(port.routes)):
            return [f"{who}: its {kind} asks {http['path']}, which is not served there"]
        if not http and not port.grpc_health:
            return [f"{who}: its {kind} asks for gRPC health, which is not served there"]
        return []
    return [f"{who}: its {kind} asks port {number}, where it does not listen"]


def grace(objects: List[Object]) -> List[str]:
    """Kubernetes waits longer for an end than the program takes for it."""
    findings = []
    for pod, container, variables in ours(objects):
        env = f"FIRESTEEL_{role(container).upper().replace('-', '_')}_GRACE_SECONDS"
        own = source.value(container, variables, "--grace-seconds", env)
        if own is None:
            continue
        given = pod.spec.get("terminationGracePeriodSeconds", 30)
        # Beyond the grace itself, services and tasks are ended and folders removed.
        if given < int(own) + 10:
            findings.append(f"{pod}: is given {given} s to end, and may take {own} s and some")
    return findings


def scraping(objects: List[Object]) -> List[str]:
    """An annotation for Prometheus names a port of the pod, and where metrics are served, there is one. It has room for one."""
    findings = []
    for pod in pods(objects):
        port = pod.annotations.get("prometheus.io/port")
        if port and int(port) not in pod.ports().values():
            findings.append(f"{pod}: Prometheus is sent to port {port}, which it does not name")
    for pod in pods(objects):
        served = sorted(number for other, number in measured(objects) if str(other) == str(pod))
        if served and pod.annotations.get("prometheus.io/port") not in map(str, served):
            findings.append(f"{pod}: has metrics on port {' and '.join(map(str, served))}, and no annotation says so")
    return findings


def measured(objects: List[Object]) -> List[Tuple[Pod, int]]:
    """The ports on which pods that run on serve metrics of ours."""
    found = []
    for pod, container, variables in ours(objects):
        if pod.kind not in LASTING or role(container) not in source.ROLES:
            continue
        for port, number in listening(container, variables).items():
            if port.routes and "/metrics" in source.routes(port.routes):
                found.append((pod, number))
    return found
