"""Metrics by name: what dashboards and autoscalers ask for is what something exports."""

from __future__ import annotations

import json
import re
from typing import List

from .objects import Object, of_kind, pods, selected, selector_of, title
from .program import described
from .references import monitored
from .serving import measured

WORD = re.compile(r"\b(?:firesteel|kafka|mongodb)_[a-z0-9_]+")


def dashboards(objects: List[Object]) -> List[str]:
    """Every query of every panel names metrics of ours, and only those; panels have ids and places of their own."""
    findings = []
    boards = [item for item in of_kind(objects, "ConfigMap") if item["metadata"].get("labels", {}).get("grafana_dashboard") == "1"]
    for item, key, text in ((item, key, text) for item in boards for key, text in item["data"].items()):
        panels = json.loads(text)["panels"]
        if len({panel["id"] for panel in panels}) != len(panels):
            findings.append(f"{title(item)}: {key} has two panels of one id")
        for panel in (panel for panel in panels if panel["type"] != "row"):
            queries = [WORD.findall(target["expr"]) for target in panel.get("targets", [])]
            unknown = {word for words in queries for word in words} - described().metrics()
            findings += [f"{title(item)}: {panel['title']}: {word} is exported by nobody" for word in sorted(unknown)]
            if not queries or not all(queries):
                findings.append(f"{title(item)}: {panel['title']}: asks for nothing")
    return findings


def monitors(objects: List[Object]) -> List[str]:
    """Where there are monitors at all, each port with metrics has one."""
    seen = set()
    for item in of_kind(objects, "PodMonitor"):
        for pod in selected(item["spec"]["selector"], pods(objects)):
            seen |= {(str(pod), pod.ports().get(end["port"])) for end in item["spec"]["podMetricsEndpoints"]}
    for item in of_kind(objects, "ServiceMonitor"):
        for service in monitored(objects, item):
            ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
            for pod in selected(selector_of(service), pods(objects)):
                seen |= {(str(pod), ports.get(end["port"])) for end in item["spec"]["endpoints"]}
    missed = [(pod, port) for pod, port in measured(objects) if (str(pod), port) not in seen]
    return [f"{pod}: no monitor asks port {port}" for pod, port in missed] if of_kind(objects, "PodMonitor") else []


def autoscalers(objects: List[Object]) -> List[str]:
    """An autoscaler's metric is exported; a group and a topic are those that the consumers have by default."""
    findings = []
    program = described()
    topics = {f"consume-{what.lower()}": program.default(f"FIRESTEEL_{what}_TOPIC") for what in ("IMAGES", "PREDICTIONS")}
    groups = {program.default(f"FIRESTEEL_{topic.upper()}_GROUP"): topic for topic in topics.values()}
    for item in of_kind(objects, "HorizontalPodAutoscaler"):
        for asked in (one["external"]["metric"] for one in item["spec"]["metrics"] if one["type"] == "External"):
            if asked["name"] not in program.metrics():
                findings.append(f"{title(item)}: {asked['name']} is exported by nobody")
            labels = asked.get("selector", {}).get("matchLabels", {})
            target = item["spec"]["scaleTargetRef"]["name"]
            if labels.get("topic") != topics.get(target):
                findings.append(f"{title(item)}: {target} does not read {labels.get('topic', 'every topic')}")
    answers = {route: answer for port in program.ports() for route, answer in port["answers"].items()}
    for item in of_kind(objects, "ScaledObject"):
        for trigger in item["spec"]["triggers"]:
            asked = trigger["metadata"]
            if trigger["type"] == "kafka" and groups.get(asked["consumerGroup"]) != asked["topic"]:
                findings.append(f"{title(item)}: {asked['consumerGroup']} does not read {asked['topic']}")
            if trigger["type"] == "metrics-api":
                there = answers.get("/" + asked["url"].split("/", 3)[-1], {})
                for field in asked["valueLocation"].split("."):
                    there = there.get(field) if isinstance(there, dict) else None
                if there is None:
                    findings.append(f"{title(item)}: {asked['valueLocation']} is not in the answer")
        names = {trigger.get("name") for trigger in item["spec"]["triggers"]}
        formula = item["spec"].get("advanced", {}).get("scalingModifiers", {}).get("formula", "")
        findings += [f"{title(item)}: {word} is no trigger" for word in re.findall(r"[a-z_]+", formula) if word not in names]
    return findings
