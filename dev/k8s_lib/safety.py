"""What no pod may do or hold: root, privileges, floating tags, waiting by the clock, secrets in the open."""

from __future__ import annotations

import re
from typing import Any, List

from .objects import LASTING, Object, of_kind, pods, title

PROFILE = "pod-security.kubernetes.io/enforce"
# Names under which a value would be a secret, and values that are one under any name.
SECRET_NAME = re.compile(r"(?i)passw|secret|token|credential|keyfile|api.?key|private")
SECRET_VALUE = re.compile(r"://[^/\s:@]+:[^/\s@]+@|-----BEGIN [A-Z ]*PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b")
# `$(NAME)` and placeholders in capitals are no values.
HARMLESS = re.compile(r"://[A-Z$(){}]+:[A-Z$(){}]+@")
MOVING = {"latest", "main", "master", "edge", "nightly", "dev"}


def restricted(objects: List[Object]) -> List[str]:
    """The rules of the profile `restricted`, and a root file system that cannot be written to."""
    findings = []
    for item in of_kind(objects, "Namespace"):
        if item["metadata"].get("labels", {}).get(PROFILE) != "restricted":
            findings.append(f"{title(item)}: does not enforce the profile restricted")
    for pod in pods(objects):
        spec, security = pod.spec, pod.spec.get("securityContext", {})
        for field in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(field):
                findings.append(f"{pod}: {field}")
        findings += [f"{pod}: mounts a folder of the machine" for v in spec.get("volumes", []) if "hostPath" in v]
        if security.get("runAsNonRoot") is not True or not security.get("runAsUser") or not security.get("runAsGroup"):
            findings.append(f"{pod}: may run as root")
        if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            findings.append(f"{pod}: has no seccomp profile")
        for container in pod.containers():
            own, who = container.get("securityContext", {}), f"{pod}/{container['name']}"
            if own.get("runAsUser") == 0 or own.get("runAsNonRoot") is False:
                findings.append(f"{who}: may run as root")
            if own.get("privileged") or own.get("allowPrivilegeEscalation") is not False:
                findings.append(f"{who}: may gain privileges")
            if own.get("capabilities") != {"drop": ["ALL"]}:
                findings.append(f"{who}: keeps capabilities")
            if own.get("readOnlyRootFilesystem") is not True:
                findings.append(f"{who}: may write to its root file system")
            if any("hostPort" in port for port in container.get("ports", [])):
                findings.append(f"{who}: takes a port of the machine")
    return findings


def images(objects: List[Object]) -> List[str]:
    """Every image has a tag, or a digest, that stays."""
    findings = []
    for pod in pods(objects):
        for container in pod.containers():
            image = container["image"]
            tag = image.rsplit("/", 1)[-1].partition(":")[2]
            if "@sha256:" not in image and (not tag or tag in MOVING):
                findings.append(f"{pod}/{container['name']}: image {image} moves")
    return findings


def resources(objects: List[Object]) -> List[str]:
    """Every container asks for processors and memory, and its memory has a limit."""
    findings = []
    for pod in pods(objects):
        for container in pod.containers() if pod.kind != "ConfigMap" else []:
            given = container.get("resources", {})
            if not {"cpu", "memory"} <= set(given.get("requests", {})) or "memory" not in given.get("limits", {}):
                findings.append(f"{pod}/{container['name']}: has no requests, or no limit of memory")
    return findings


def waiting(objects: List[Object]) -> List[str]:
    """Nothing waits by the clock: order comes from readiness and from trying again."""
    findings = []
    for pod in pods(objects):
        for container in pod.containers():
            said = container.get("command", []) + container.get("args", [])
            for hook in container.get("lifecycle", {}).values():
                said = said + hook.get("exec", {}).get("command", []) + (["sleep"] if "sleep" in hook else [])
            if any(re.search(r"\b(sleep|usleep|timeout)\b", word) for word in said):
                findings.append(f"{pod}/{container['name']}: sleeps")
    for item in of_kind(objects, "ConfigMap"):
        for key, text in item.get("data", {}).items():
            if re.search(r"\bsleep\s*\(|^\s*sleep\b|\btime\.sleep\b", text, re.M):
                findings.append(f"{title(item)}: {key} sleeps")
    return findings


def secrets(objects: List[Object]) -> List[str]:
    """No object is a secret, or has one as a value."""
    findings = [f"{title(item)}: is in the open" for item in of_kind(objects, "Secret")]

    def look(item: Object, path: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                look(item, f"{path}.{key}", inner)
            if SECRET_NAME.search(str(value.get("name", ""))) and isinstance(value.get("value"), str) and value["value"]:
                findings.append(f"{title(item)}: {value['name']} has its value in the open")
        elif isinstance(value, list):
            for position, inner in enumerate(value):
                look(item, f"{path}[{position}]", inner)
        elif isinstance(value, str):
            if SECRET_VALUE.search(HARMLESS.sub("", value)):
                findings.append(f"{title(item)}: {path.lstrip('.')} holds a secret")

    for item in objects:
        look(item, "", item)
        if item["kind"] == "ConfigMap":
            for key in item.get("data", {}):
                if SECRET_NAME.search(key):
                    findings.append(f"{title(item)}: {key} belongs into a Secret")
    return findings


def links(objects: List[Object]) -> List[str]:
    """No pod has Services written into its environment: Kafka's image and Firesteel take such names for settings."""
    linked = [pod for pod in pods(objects) if pod.spec.get("enableServiceLinks") is not False]
    return [f"{pod}: has links to Services in its environment" for pod in linked]


def lasting(objects: List[Object]) -> List[str]:
    """What runs on, runs on: a Job ends, and is tried again until it has."""
    findings = []
    for pod in pods(objects):
        policy = pod.spec.get("restartPolicy", "Always")
        if (policy == "Always") != (pod.kind in LASTING) and pod.kind != "ConfigMap":
            findings.append(f"{pod}: restartPolicy is {policy}")
    return findings
