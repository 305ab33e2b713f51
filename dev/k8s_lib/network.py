"""Which pods may talk to which: every edge that is needed is open at both ends, and no other is.

Edges are between components (`app.kubernetes.io/component`) and by port number.
"""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, NamedTuple, Set, Tuple

from .objects import Object, Pod, matches, of_kind, pods, title
from .serving import measured


class Edge(NamedTuple):
    """`client` opens connections to `port` of `server`."""

    client: str
    server: str
    port: int

    def __str__(self) -> str:
        return f"{self.client} -> {self.server}:{self.port}"


# The picture in the README, and what stands beside it.
PICTURE = [
    Edge("producer", "kafka", 9092),
    Edge("consume-images", "kafka", 9092),
    Edge("consume-images", "inference", 50060),
    Edge("consume-predictions", "kafka", 9092),
    Edge("consume-predictions", "mongodb", 27017),
    Edge("report", "scheduler", 50050),
    Edge("executor", "scheduler", 50050),
    Edge("scheduler", "executor", 50051),
    Edge("scheduler", "executor", 50052),
    Edge("executor", "executor", 50051),
    Edge("scheduler", "mongodb", 27017),
    Edge("scheduler", "kafka", 9092),
    Edge("executor", "mongodb", 27017),
    Edge("executor", "kafka", 9092),
    Edge("kafka", "kafka", 9092),
    Edge("kafka", "kafka", 9093),
    Edge("mongodb", "mongodb", 27017),
    Edge("mongodb-initiate", "mongodb", 27017),
    Edge("spark-driver", "mongodb", 27017),
    Edge("spark-executor", "mongodb", 27017),
    Edge("spark-executor", "spark-driver", 7078),
    Edge("spark-executor", "spark-driver", 7079),
    Edge("spark-driver", "spark-executor", 7079),
    Edge("spark-executor", "spark-executor", 7079),
]
# Namespaces that belong to others: by their name, or by a label that invites them.
NAMESPACE = "kubernetes.io/metadata.name"
INVITED = "firesteel.dev/producers"
FOREIGN = {"kube-system", "monitoring", "keda", INVITED}
# Who may reach addresses that are no pods': the API server, and Maven Central.
OUTSIDE = {"spark-driver": {443, 6443}}


def edges(objects: List[Object]) -> List[str]:
    """The picture's edges between components that are here: all open, no others."""
    everyone = pods(objects)
    here = {pod.component for pod in everyone}
    needed = {edge for edge in PICTURE if edge.client in here and edge.server in here}
    findings = [f"{pod}: has no component" for pod in everyone if not pod.component]
    for pod in everyone:
        if not any(pod.component in edge[:2] for edge in needed):
            findings.append(f"{pod}: {pod.component} has no edge in the picture")
    leaving, entering = allowed(objects, "egress"), allowed(objects, "ingress")
    for edge in sorted(needed):
        if edge not in leaving:
            findings.append(f"{edge}: may not leave")
        if edge not in entering:
            findings.append(f"{edge}: may not enter")
    findings += [f"{edge}: may leave, and is not in the picture" for edge in sorted(leaving - needed)]
    findings += [f"{edge}: may enter, and is not in the picture" for edge in sorted(entering - needed)]
    return findings


def allowed(objects: List[Object], direction: str) -> Set[Edge]:
    found = set()
    for _, subject, peer, port in _rules(objects, direction):
        if "podSelector" not in peer or "namespaceSelector" in peer:
            continue
        for other in pods(objects):
            if matches(peer["podSelector"], other.labels):
                ends = (subject.component, other.component) if direction == "egress" else (other.component, subject.component)
                found.add(Edge(*ends, port))
    return found


def _rules(objects: List[Object], direction: str) -> Iterator[Tuple[Object, Pod, Object, Any]]:
    """(policy, a pod that it is about, peer, port) for each combination; a rule without peers has the peer {}."""
    word = {"egress": "to", "ingress": "from"}[direction]
    for policy in of_kind(objects, "NetworkPolicy"):
        for subject in pods(objects):
            if not matches(policy["spec"]["podSelector"], subject.labels):
                continue
            for rule in policy["spec"].get(direction, []):
                for peer in rule.get(word, [{}]):
                    for port in rule.get("ports", [{}]):
                        yield policy, subject, peer, port.get("port")


def policies(objects: List[Object]) -> List[str]:
    """Every selector of every policy selects pods, every port is one of theirs, and nothing is open to everybody."""
    findings = []
    everyone = pods(objects)
    for policy in of_kind(objects, "NetworkPolicy"):
        spec = policy["spec"]
        if not any(matches(spec["podSelector"], pod.labels) for pod in everyone):
            findings.append(f"{title(policy)}: is about no pod")
        types = {word.lower() for word in spec["policyTypes"]}
        if not {key for key in ("ingress", "egress") if key in spec} <= types:
            findings.append(f"{title(policy)}: has rules of a type that it does not name")
        for direction, word in (("ingress", "from"), ("egress", "to")):
            for rule in spec.get(direction, []):
                findings += _rule(policy, direction, rule.get(word, []), rule.get("ports", []), everyone)
    return findings


def _rule(policy: Object, direction: str, peers: List[Object], ports: List[Object], everyone: List[Pod]) -> List[str]:
    who, findings = title(policy), []
    numbers = {port.get("port") for port in ports}
    subjects = [pod for pod in everyone if matches(policy["spec"]["podSelector"], pod.labels)]
    if not numbers or None in numbers:
        findings.append(f"{who}: names no port")
    if not peers:
        if direction == "ingress" or any(not numbers <= OUTSIDE.get(pod.component, set()) for pod in subjects):
            findings.append(f"{who}: is open to everybody")
        return findings
    for peer in peers:
        if "namespaceSelector" in peer and _space(peer) not in FOREIGN:
            findings.append(f"{who}: {peer['namespaceSelector']} is a namespace that nobody knows")
        if "namespaceSelector" in peer and direction == "egress":
            continue  # DNS: see `names`
        chosen = [pod for pod in everyone if matches(peer.get("podSelector", {}), pod.labels)]
        targets = chosen if direction == "egress" else subjects
        if "namespaceSelector" not in peer and not chosen:
            findings.append(f"{who}: a peer selects no pod")
        for pod in targets:
            for number in sorted(numbers - set(pod.ports().values()) - {None}):
                findings.append(f"{who}: {number} is no port of {pod}")
    return findings


def _space(peer: Object) -> str:
    """The namespace that a peer is in; empty where it is ours."""
    labels = peer.get("namespaceSelector", {}).get("matchLabels", {})
    return labels.get(NAMESPACE) or (INVITED if labels == {INVITED: "true"} else "")


def default_deny(objects: List[Object]) -> List[str]:
    """There is a policy about every pod that allows nothing."""
    for policy in of_kind(objects, "NetworkPolicy"):
        spec = policy["spec"]
        closed = not spec.get("ingress") and not spec.get("egress")
        if spec["podSelector"] == {} and set(spec["policyTypes"]) == {"Ingress", "Egress"} and closed:
            return []
    return ["no policy denies what no other allows"]


def names(objects: List[Object]) -> List[str]:
    """Every pod may ask for names, over UDP and TCP."""
    asks: Dict[str, Set[str]] = {}
    for policy in of_kind(objects, "NetworkPolicy"):
        for rule in policy["spec"].get("egress", []):
            for peer in rule.get("to", []):
                if _space(peer) != "kube-system":
                    continue
                for pod in pods(objects):
                    if matches(policy["spec"]["podSelector"], pod.labels):
                        ports = [port.get("protocol", "TCP") for port in rule["ports"] if port["port"] == 53]
                        asks.setdefault(str(pod), set()).update(ports)
    return [f"{pod}: may not ask for names" for pod in pods(objects) if asks.get(str(pod)) != {"UDP", "TCP"}]


def visitors(objects: List[Object]) -> List[str]:
    """Prometheus may reach each port that serves metrics, KEDA what its triggers ask, producers Kafka; none more."""
    here = pods(objects)
    wanted = {("monitoring", pod.component, port) for pod, port in measured(objects)}
    wanted |= set() if any(pod.component == "producer" for pod in here) else {(INVITED, "kafka", 9092)}
    for item in of_kind(objects, "ScaledObject"):
        kinds = {trigger["type"] for trigger in item["spec"]["triggers"]}
        wanted |= {("keda", "kafka", 9092)} if "kafka" in kinds else set()
        wanted |= {("keda", "scheduler", 50050)} if "metrics-api" in kinds else set()
    open_to = set()
    for _, subject, peer, port in _rules(objects, "ingress"):
        if "namespaceSelector" in peer:
            open_to.add((_space(peer), subject.component, port))
    say = "{0} -> {1}:{2}".format
    return [f"{say(*edge)}: may not enter" for edge in sorted(wanted - open_to)] + [
        f"{say(*edge)}: may enter, and nobody comes" for edge in sorted(open_to - wanted)
    ]
