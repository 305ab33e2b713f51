"""Which pods may talk to which: every edge of network.yaml is open at both ends, and no other is."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Set, Tuple

from . import render
from .objects import Object, Pod, matches, of_kind, pods, title
from .serving import measured

INVITED = "firesteel.dev/producers"
SIDES = (("ingress", "from"), ("egress", "to"))


class Edge(NamedTuple):
    """`client` opens connections to `port` of `server`."""

    client: str
    server: str
    port: int

    def __str__(self) -> str:
        return f"{self.client} -> {self.server}:{self.port}"


@functools.lru_cache(maxsize=None)
def picture() -> Dict[str, Any]:
    [found] = render.load((Path(__file__).parent / "network.yaml").read_text())
    wanted = {Edge(a, b, port) for a, servers in found["edges"].items() for b, ports in servers.items() for port in ports}
    return {**found, "edges": wanted}


def rules(objects: List[Object], direction: str) -> Iterator[Tuple[Object, List[Pod], List[Object], List[Object]]]:
    """(policy, the pods that it is about, peers, ports) of each rule."""
    for policy in of_kind(objects, "NetworkPolicy"):
        subjects = [pod for pod in pods(objects) if matches(policy["spec"]["podSelector"], pod.labels)]
        for rule in policy["spec"].get(direction, []):
            yield policy, subjects, rule.get(dict(SIDES)[direction], []), rule.get("ports", [])


def chosen(peer: Object, everyone: List[Pod]) -> List[Pod]:
    return [pod for pod in everyone if matches(peer.get("podSelector", {}), pod.labels)]


def space(peer: Object) -> str:
    """The namespace that a peer is in, by its name or by the label that invites it; empty where it is ours."""
    labels = peer.get("namespaceSelector", {}).get("matchLabels", {})
    return labels.get("kubernetes.io/metadata.name") or (INVITED if labels == {INVITED: "true"} else "")


def edges(objects: List[Object]) -> List[str]:
    """The picture's edges between components that are here: all open, no others."""
    everyone = pods(objects)
    here = {pod.component for pod in everyone}
    needed = {edge for edge in picture()["edges"] if edge.client in here and edge.server in here}
    findings = [f"{pod}: has no component" for pod in everyone if not pod.component]
    for pod in everyone:
        if not any(pod.component in edge[:2] for edge in needed) and pod.component not in picture()["outside"]:
            findings.append(f"{pod}: {pod.component} has no edge in the picture")
    for direction, verb in (("egress", "leave"), ("ingress", "enter")):
        allowed: Set[Edge] = set()
        for _, subjects, peers, ports in rules(objects, direction):
            others = {pod.component for peer in peers if "namespaceSelector" not in peer for pod in chosen(peer, everyone)}
            pairs = [(subject.component, other) for subject in subjects for other in others]
            allowed |= {
                Edge(*(pair if direction == "egress" else reversed(pair)), port.get("port")) for pair in pairs for port in ports
            }
        findings += [f"{edge}: may not {verb}" for edge in sorted(needed - allowed)]
        findings += [f"{edge}: may {verb}, and is not in the picture" for edge in sorted(allowed - needed)]
    return findings


def policies(objects: List[Object]) -> List[str]:
    """Every selector of every policy selects pods, every port is one of theirs, and nothing is open to everybody."""
    findings = []
    everyone = pods(objects)
    for policy in of_kind(objects, "NetworkPolicy"):
        if not any(matches(policy["spec"]["podSelector"], pod.labels) for pod in everyone):
            findings.append(f"{title(policy)}: is about no pod")
        if not {key for key, _ in SIDES if key in policy["spec"]} <= {word.lower() for word in policy["spec"]["policyTypes"]}:
            findings.append(f"{title(policy)}: has rules of a type that it does not name")
    for direction, _ in SIDES:
        for policy, subjects, peers, ports in rules(objects, direction):
            who, numbers = title(policy), {port.get("port") for port in ports}
            if not numbers or None in numbers:
                findings.append(f"{who}: names no port")
            outside = [numbers <= set(picture()["outside"].get(pod.component, ())) for pod in subjects]
            if not peers and (direction == "ingress" or not all(outside)):
                findings.append(f"{who}: is open to everybody")
            for peer in peers:
                foreign = "namespaceSelector" in peer
                if foreign and space(peer) not in picture()["namespaces"]:
                    findings.append(f"{who}: {peer['namespaceSelector']} is a namespace that nobody knows")
                if not foreign and not chosen(peer, everyone):
                    findings.append(f"{who}: a peer selects no pod")
                if foreign and space(peer) in picture()["visitors"]:
                    if peer.get("podSelector", {}).get("matchLabels") != picture()["visitors"][space(peer)]:
                        findings.append(f"{who}: lets in every pod of the namespace {space(peer)}")
                if foreign and direction == "egress":
                    continue  # DNS: see `names`
                for pod in chosen(peer, everyone) if direction == "egress" else subjects:
                    for number in sorted(numbers - set(pod.ports().values()) - {None}):
                        findings.append(f"{who}: {number} is no port of {pod}")
    return findings


def default_deny(objects: List[Object]) -> List[str]:
    """There is a policy about every pod that allows nothing."""
    for spec in (policy["spec"] for policy in of_kind(objects, "NetworkPolicy")):
        closed = not spec.get("ingress") and not spec.get("egress")
        if spec["podSelector"] == {} and set(spec["policyTypes"]) == {"Ingress", "Egress"} and closed:
            return []
    return ["no policy denies what no other allows"]


def names(objects: List[Object]) -> List[str]:
    """Every pod may ask for names, over UDP and TCP."""
    asks: Dict[str, Set[str]] = {}
    for _, subjects, peers, ports in rules(objects, "egress"):
        if any(space(peer) == "kube-system" for peer in peers):
            for pod in subjects:
                asks.setdefault(str(pod), set()).update(port.get("protocol", "TCP") for port in ports if port["port"] == 53)
    return [f"{pod}: may not ask for names" for pod in pods(objects) if asks.get(str(pod)) != {"UDP", "TCP"}]


def visitors(objects: List[Object]) -> List[str]:
    """Prometheus may reach each port that serves metrics, KEDA what its triggers ask, producers Kafka and the door; none more."""
    wanted = {("monitoring", pod.component, port) for pod, port in measured(objects)}
    elsewhere = {(INVITED, "kafka", 9092), (INVITED, "ingest", 8090)}
    wanted |= set() if any(pod.component == "producer" for pod in pods(objects)) else elsewhere
    kinds = {trigger["type"] for item in of_kind(objects, "ScaledObject") for trigger in item["spec"]["triggers"]}
    wanted |= {("keda", "kafka", 9092)} if "kafka" in kinds else set()
    wanted |= {("keda", "scheduler", 50054)} if "metrics-api" in kinds else set()
    open_to = set()
    for _, subjects, peers, ports in rules(objects, "ingress"):
        spaces = {space(peer) for peer in peers if "namespaceSelector" in peer}
        open_to |= {(who, pod.component, port.get("port")) for who in spaces for pod in subjects for port in ports}
    say = "{0} -> {1}:{2}".format
    return [f"{say(*edge)}: may not enter" for edge in sorted(wanted - open_to)] + [
        f"{say(*edge)}: may enter, and nobody comes" for edge in sorted(open_to - wanted)
    ]
