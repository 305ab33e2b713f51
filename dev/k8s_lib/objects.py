"""Finds the pods in a list of objects, wherever they are templates of something else, and what selects them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional

Object = Dict[str, Any]
COMPONENT = "app.kubernetes.io/component"
# What has to run on, as opposed to what runs to its end.
LASTING = {"Deployment", "StatefulSet", "DaemonSet"}


@dataclass(frozen=True)
class Pod:
    """A pod as an object's template describes it."""

    kind: str
    name: str
    template: Object
    owner: Object

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"

    @property
    def spec(self) -> Object:
        return self.template["spec"]

    @property
    def labels(self) -> Dict[str, str]:
        return self.template.get("metadata", {}).get("labels", {})

    @property
    def annotations(self) -> Dict[str, str]:
        return self.template.get("metadata", {}).get("annotations", {})

    @property
    def component(self) -> str:
        return self.labels.get(COMPONENT, "")

    def containers(self) -> List[Object]:
        return [*self.spec.get("initContainers", []), *self.spec.get("containers", [])]

    def ports(self) -> Dict[str, int]:
        """Name → number; a port without a name has its number for a name."""
        ports = [port for container in self.spec.get("containers", []) for port in container.get("ports", [])]
        return {port.get("name", str(port["containerPort"])): port["containerPort"] for port in ports}


def name(item: Object) -> str:
    return item["metadata"]["name"]


def title(item: Object) -> str:
    return f"{item['kind']}/{name(item)}"


def of_kind(objects: List[Object], *kinds: str) -> List[Object]:
    return [item for item in objects if item["kind"] in kinds]


def find(objects: List[Object], kind: str, wanted: str) -> Optional[Object]:
    return next((item for item in of_kind(objects, kind) if name(item) == wanted), None)


def pods(objects: List[Object]) -> List[Pod]:
    found = []
    for item in objects:
        kind, spec = item["kind"], item.get("spec", {})
        if kind in LASTING or kind == "Job":
            found.append(Pod(kind, name(item), spec["template"], item))
        elif kind == "CronJob":
            found.append(Pod(kind, name(item), spec["jobTemplate"]["spec"]["template"], item))
        elif kind == "Pod":
            found.append(Pod(kind, name(item), item, item))
        elif kind == "ConfigMap":
            found += [Pod("ConfigMap", f"{name(item)}:{key}", pod, item) for key, pod in _templates(item)]
    return found


def _templates(config_map: Object) -> Iterator[Any]:
    """Spark's executors are pods of a template that only its driver reads."""
    for key, text in config_map.get("data", {}).items():
        if key.endswith(".yaml") and "kind: Pod" in text.splitlines():
            from .render import load

            yield from ((key, item) for item in load(text) if item.get("kind") == "Pod")


def matches(selector: Object, labels: Dict[str, str]) -> bool:
    """Whether a label selector with `matchLabels`, and nothing else, matches."""
    extra = set(selector) - {"matchLabels"}
    if extra:
        raise ValueError(f"selectors with {', '.join(sorted(extra))} are not understood here")
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def firesteel(container: Object) -> bool:
    return container["image"].rsplit("/", 1)[-1].split(":")[0] in ("firesteel", "firesteel-cuda")


def environment(container: Object, objects: List[Object], secret: str = "placeholder") -> Dict[str, str]:
    """What a container finds in its environment; `secret` stands for what only the cluster knows."""
    found: Dict[str, str] = {}
    for source in container.get("envFrom", []):
        config_map = find(objects, "ConfigMap", source.get("configMapRef", {}).get("name", ""))
        found.update(config_map.get("data", {}) if config_map else {})
    for variable in container.get("env", []):
        reference = variable.get("valueFrom", {}).get("configMapKeyRef")
        if reference:
            config_map = find(objects, "ConfigMap", reference["name"]) or {}
            found[variable["name"]] = config_map.get("data", {}).get(reference["key"], "")
        else:
            found[variable["name"]] = variable["value"] if "value" in variable else secret
    return found
