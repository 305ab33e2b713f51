"""Finds the pods in a list of objects, wherever they are templates of something else, and what selects them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Tuple

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


def _templates(config_map: Object) -> Iterator[Tuple[str, Object]]:
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


def selected(selector: Object, everyone: List[Pod]) -> List[Pod]:
    """The pods of a selector, which has to say something: an empty one is a mistake here."""
    return [pod for pod in everyone if selector.get("matchLabels") and matches(selector, pod.labels)]


def selector_of(item: Object) -> Object:
    """A Service's in the words of all the others."""
    found = item["spec"].get("selector", {})
    return {"matchLabels": found} if item["kind"] == "Service" else found


def firesteel(container: Object) -> bool:
    return container["image"].rsplit("/", 1)[-1].split(":")[0] in ("firesteel", "firesteel-cuda")


def data(objects: List[Object], wanted: str) -> Dict[str, str]:
    """What a ConfigMap holds."""
    found = find(objects, "ConfigMap", wanted)
    if found is None:
        raise ValueError(f"there is no ConfigMap {wanted}")
    return found.get("data", {})


def expand(text: str, values: Dict[str, str]) -> str:
    """$(NAME), as Kubernetes does it: what has no value stays as it is."""
    return re.sub(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)", lambda match: values.get(match[1], match[0]), text)


def environment(
    container: Object, objects: List[Object], fields: Optional[Dict[str, str]] = None, secrets: Dict[str, Dict[str, str]] = {}
) -> Dict[str, str]:
    """What a container finds in its environment. `fields`: what only a cluster knows, by its path; without it, `placeholder`
    stands for that, and for what is nowhere. `secrets`: what Secrets hold."""
    found: Dict[str, str] = {}
    for source in container.get("envFrom", []):
        if "configMapRef" in source and (fields is not None or find(objects, "ConfigMap", source["configMapRef"]["name"])):
            found.update(data(objects, source["configMapRef"]["name"]))
    for variable in container.get("env", []):
        origin, value = variable.get("valueFrom"), variable.get("value", "")
        if origin and "configMapKeyRef" in origin:
            value = data(objects, origin["configMapKeyRef"]["name"]).get(origin["configMapKeyRef"]["key"], "")
        elif origin and fields is None:
            value = "placeholder"
        elif origin and origin.get("secretKeyRef", {}).get("name") in secrets:
            value = secrets[origin["secretKeyRef"]["name"]][origin["secretKeyRef"]["key"]]
        elif origin and "fieldRef" in origin:
            value = fields[origin["fieldRef"]["fieldPath"]]
        elif origin:
            raise ValueError(f"{variable['name']} comes from {', '.join(origin)}, which is not understood here")
        elif fields is not None:
            value = expand(value, found)
        found[variable["name"]] = value
    return found
