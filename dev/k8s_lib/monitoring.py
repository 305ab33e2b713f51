"""Metrics by name: what dashboards and autoscalers ask for is what something exports."""

from __future__ import annotations

import json
import re
from typing import List, Set

from . import source
from .objects import Object, matches, of_kind, title
from .serving import measured

WORD = re.compile(r"\b(?:firesteel|kafka|mongodb)_[a-z0-9_]+")


def dashboards(objects: List[Object], exported: Set[str]) -> List[str]:
    """Every query of every panel names metrics of ours, and only those; panels have ids and places of their own."""
    findings = []
    for item in of_kind(objects, "ConfigMap"):
        if item["metadata"].get("labels", {}).get("grafana_dashboard") != "1":
            continue
        for key, text in item["data"].items():
            panels = json.loads(text)["panels"]
            if len({panel["id"] for panel in panels}) != len(panels):
                findings.append(f"{title(item)}: {key} has two panels of one id")
            for panel in panels:
                if panel["type"] == "row":
                    continue
                queries = [target["expr"] for target in panel.get("targets", [])]
                used = {word for query in queries for word in WORD.findall(query)}
                findings += [f"{title(item)}: {panel['title']}: {word} is exported by nobody" for word in sorted(used - exported)]
                if not queries or any(not WORD.search(query) for query in queries):
                    findings.append(f"{title(item)}: {panel['title']}: asks for nothing")
    return findings


def monitors(objects: List[Object]) -> List[str]:
    """Where there are monitors at all, each port with metrics has one."""
    if not of_kind(objects, "PodMonitor"):
        return []
    seen = set()
    for pod, _ in measured(objects):
        for item in of_kind(objects, "PodMonitor"):
            if matches(item["spec"]["selector"], pod.labels):
                seen |= {(str(pod), pod.ports().get(end["port"])) for end in item["spec"]["podMetricsEndpoints"]}
        for item in of_kind(objects, "ServiceMonitor"):
            for service in of_kind(objects, "Service"):
                known = matches(item["spec"]["selector"], service["metadata"].get("labels", {}))
                if known and matches({"matchLabels": service["spec"]["selector"]}, pod.labels):
                    ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
                    seen |= {(str(pod), ports.get(end["port"])) for end in item["spec"]["endpoints"]}
    missed = [(pod, port) for pod, port in measured(objects) if (str(pod), port) not in seen]
    return [f"{pod}: no monitor asks port {port}" for pod, port in missed]


def autoscalers(objects: List[Object], exported: Set[str]) -> List[str]:
    """An autoscaler's metric is exported; a group and a topic are those that the consumers have by default."""
    findings = []
    topics = {"consume-images": source.default("FIRESTEEL_IMAGES_TOPIC")}
    topics["consume-predictions"] = source.default("FIRESTEEL_PREDICTIONS_TOPIC")
    groups = {source.default(f"FIRESTEEL_{topic.upper()}_GROUP"): topic for topic in topics.values()}
    for item in of_kind(objects, "HorizontalPodAutoscaler"):
        for metric in item["spec"]["metrics"]:
            if metric["type"] != "External":
                continue
            asked = metric["external"]["metric"]
            if asked["name"] not in exported:
                findings.append(f"{title(item)}: {asked['name']} is exported by nobody")
            labels = asked.get("selector", {}).get("matchLabels", {})
            target = item["spec"]["scaleTargetRef"]["name"]
            if labels.get("topic") != topics.get(target):
                findings.append(f"{title(item)}: {target} does not read {labels.get('topic', 'every topic')}")
    fields = source.json_fields("engine/src/cluster/scheduler/overview.rs")
    for item in of_kind(objects, "ScaledObject"):
        for trigger in item["spec"]["triggers"]:
            asked = trigger["metadata"]
            if trigger["type"] == "kafka" and groups.get(asked["consumerGroup"]) != asked["topic"]:
                findings.append(f"{title(item)}: {asked['consumerGroup']} does not read {asked['topic']}")
            if trigger["type"] == "metrics-api" and not set(asked["valueLocation"].split(".")) <= fields:
                findings.append(f"{title(item)}: {asked['valueLocation']} is not in the answer")
        names = {trigger.get("name") for trigger in item["spec"]["triggers"]}
        formula = item["spec"].get("advanced", {}).get("scalingModifiers", {}).get("formula", "")
        findings += [f"{title(item)}: {word} is no trigger" for word in re.findall(r"[a-z_]+", formula) if word not in names]
    return findings
