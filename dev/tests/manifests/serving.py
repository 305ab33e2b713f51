"""Settings, arguments, ports and probes of our own containers, against what the program says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Optional, Tuple

from .objects import LASTING, Object, Pod, environment, firesteel, pods
from .program import Port, described, refused


def ours(objects: List[Object]) -> List[Tuple[Pod, Object, Dict[str, str]]]:
    everything = [(pod, container) for pod in pods(objects) for container in pod.containers()]
    return [(pod, one, environment(one, objects)) for pod, one in everything if firesteel(one)]


def role(container: Object) -> str:
    return (container.get("args") or [""])[0]


def settings(objects: List[Object]) -> List[str]:
    """The binary refuses a variable FIRESTEEL_… that it does not know: so do we, earlier."""
    return [
        f"{pod}/{container['name']}: {name} is no setting"
        for pod, container, variables in ours(objects)
        for name in variables
        if name.startswith("FIRESTEEL_") and name not in described().variables
    ]


def arguments(objects: List[Object], program: Path) -> List[str]:
    """Whether the real binary takes each container's arguments and settings."""
    findings = []
    for pod, container, variables in ours(objects):
        # Something of the right kind, for what only the cluster knows.
        stand_in = {"FIRESTEEL_MONGODB_URI": "mongodb://user:word@mongodb:27017/?replicaSet=rs0"}
        given = {key: stand_in.get(key, "10.0.0.1") if value == "placeholder" else value for key, value in variables.items()}
        words = refused(container, given, program)
        findings += [f"{pod}/{container['name']}: {words}"] if words else []
    return findings


def schemes(objects: List[Object]) -> List[str]:
    """Who asks a server by TLS trusts an authority, and who asks without trusts none: an authority alone makes a client use TLS."""
    findings = []
    for pod, container, variables in ours(objects):
        for variable in ("FIRESTEEL_INFERENCE_URL", "FIRESTEEL_SCHEDULER"):
            if role(container) in described().setting(variable, role(container))["commands"]:
                address = described().value(container, variables, variable) or ""
                trusts = described().value(container, variables, "FIRESTEEL_TLS_CA")
                if address.startswith(("https://", "dfs://")) != bool(trusts):
                    trusted = f"trusts {trusts}" if trusts else "trusts no authority"
                    findings.append(f"{pod}/{container['name']}: asks {address}, and {trusted}")
    return findings


def listening(container: Object, variables: Dict[str, str]) -> List[Tuple[Port, int]]:
    """The ports that a container's arguments make the program listen on, with their numbers."""
    found = []
    for port in described().roles[role(container)]["ports"]:
        text = described().value(container, variables, port["setting"])
        number = int((text or "").rsplit(":", 1)[-1] or 0)
        found += [(port, number)] if number else []
    return found


def ports(objects: List[Object]) -> List[str]:
    """A container names the ports that its arguments make the program listen on, all of them, and is reached from outside."""
    findings = []
    for pod, container, variables in ours(objects):
        who, what = f"{pod}/{container['name']}", described().roles.get(role(container))
        if what is None:
            findings.append(f"{who}: {role(container) or 'nothing'} is no subcommand that has pods")
            continue
        named = {port["containerPort"] for port in container.get("ports", [])}
        # What listens on the loopback is for a neighbour in the pod, and is named to nobody.
        inward = {
            port["setting"] for port in what["ports"]
            if port["address"] and (described().value(container, variables, port["setting"]) or "").startswith("127.0.0.1:")
        }
        listens = {number for port, number in listening(container, variables) if port["setting"] not in inward}
        if named != listens:
            findings.append(f"{who}: names the ports {sorted(named)} and listens on {sorted(listens)}")
        # No default reaches beyond the loopback, so it has to be said.
        bound = [port["setting"] for port in what["ports"] if port["address"]] + ([what["bind"]] if what["bind"] else [])
        bound = [setting for setting in bound if setting not in inward or not beside(pod, container)]
        hosts = {described().value(container, variables, variable) for variable in bound} - {None}
        findings += [f"{who}: listens on {one} only" for one in sorted(hosts) if not one.startswith("0.0.0.0")]
    return findings


def beside(pod: Pod, container: Object) -> bool:
    """Whether another container of the pod, one of ours as well, can be what this one listens for."""
    return any(firesteel(other) and other is not container for other in pod.spec["containers"])


def probes(objects: List[Object]) -> List[str]:
    """What runs on has probes, and each asks what is served there."""
    findings = []
    for pod in pods(objects):
        for container in pod.spec.get("containers", []):
            who, own = f"{pod}/{container['name']}", firesteel(container)
            for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
                if kind in container:
                    words = _probe(pod, container, environment(container, objects) if own else None, container[kind])
                    findings += [f"{who}: its {kind} {words}"] if words else []
                elif pod.kind in LASTING and (own or kind != "startupProbe"):
                    findings.append(f"{who}: has no {kind}")
            if own and container.get("livenessProbe", {}).get("httpGet", {}).get("path") == "/readyz":
                findings.append(f"{who}: is killed for what others do not answer")
    return findings


def _probe(pod: Pod, container: Object, variables: Optional[Dict[str, str]], probe: Object) -> str:
    """What is wrong with a probe; `variables`: of a container of ours."""
    http, grpc = probe.get("httpGet"), probe.get("grpc")
    asked = http or grpc or probe.get("tcpSocket")
    number = pod.ports().get(asked["port"], asked["port"]) if asked else None
    if asked and number not in pod.ports().values():
        return f"asks port {number}, which it does not name"
    if variables is None:
        return ""
    if not http and not grpc:
        return "only asks whether a port is open"
    for port, listens in listening(container, variables) if role(container) in described().roles else []:
        if listens == number:
            if http and http["path"] not in port["routes"]:
                return f"asks {http['path']}, which is not served there"
            return "" if http or port["grpc_health"] else "asks for gRPC health, which is not served there"
    return f"asks port {number}, where it does not listen"


def grace(objects: List[Object]) -> List[str]:
    """Kubernetes waits longer for an end than the program takes for it."""
    findings = []
    for pod, container, variables in ours(objects):
        variable = f"FIRESTEEL_{role(container).upper().replace('-', '_')}_GRACE_SECONDS"
        own = described().value(container, variables, variable) if variable in described().variables else None
        given = pod.spec.get("terminationGracePeriodSeconds", 30)
        # Beyond the grace itself, services and tasks are ended and folders removed.
        if own is not None and given < int(own) + 10:
            findings.append(f"{pod}: is given {given} s to end, and may take {own} s and some")
    return findings


def measured(objects: List[Object]) -> List[Tuple[Pod, int]]:
    """The ports on which pods that run on serve metrics of ours. Where the port of health has them, no other is to be asked."""
    found = []
    for pod, one, variables in ours(objects):
        if pod.kind in LASTING and role(one) in described().roles:
            serving = [(port["setting"], number) for port, number in listening(one, variables) if port["metrics"]]
            health = [(setting, number) for setting, number in serving if "HEALTH" in setting]
            found += [(pod, number) for _, number in health or serving]
    return found


def scraping(objects: List[Object]) -> List[str]:
    """An annotation for Prometheus names a port of the pod, and where metrics are served, there is one. It has room for one."""
    findings = []
    for pod in pods(objects):
        port = pod.annotations.get("prometheus.io/port")
        if port and int(port) not in pod.ports().values():
            findings.append(f"{pod}: Prometheus is sent to port {port}, which it does not name")
        served = sorted(str(number) for other, number in measured(objects) if str(other) == str(pod))
        if served and port not in served:
            findings.append(f"{pod}: has metrics on port {' and '.join(served)}, and no annotation says so")
    return findings
