"""Makes of rendered manifests what `podman kube play` runs: one Pod at a time, with an address of its own.

What Kubernetes does and podman does not is done here: a controller's replicas become pods, a Service becomes lines of each
pod's hosts file, settings by reference are written out, and volumes become folders. What has no meaning without a kubelet
is left out: probes (`story` asks the same questions itself), shares of processors and memory, service accounts. All that
makes a pod strict stays: its user, the read-only root file system, no capabilities, no new privileges.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

from k8s_lib.objects import Pod, find, matches, name, of_kind, pods

Object = Dict[str, Any]
NETWORK = "10.89.7"
INDEX = "apps.kubernetes.io/pod-index"
DOMAIN = "cluster.local"


@dataclass
class Planned:
    """A pod to be: its manifest, its address, and the folders that it mounts, with the files that lie in them."""

    name: str
    component: str
    address: str
    manifest: Object
    folders: Dict[str, Dict[str, str]] = field(default_factory=dict)


def names(objects: List[Object], replicas: Dict[str, int]) -> List[tuple]:
    """(template, pod's name, its number) of everything that is to run; `replicas` by the controller's name, else as it says."""
    found = []
    for pod in pods(objects):
        if pod.kind in ("Deployment", "StatefulSet"):
            count = replicas.get(pod.name, pod.owner["spec"].get("replicas", 1))
            found += [(pod, f"{pod.name}-{number}", number) for number in range(count)]
        elif pod.kind in ("Job", "CronJob"):
            found.append((pod, pod.name, 0))
    return found


def addresses(planned: List[tuple]) -> Dict[str, str]:
    """One for each name, the same ones for the same names: pods that come later change none that is there."""
    by_name = sorted(planned, key=lambda row: (row[2], row[1]))
    return {what: f"{NETWORK}.{10 + number}" for number, (_, what, _) in enumerate(by_name)}


def plan(objects: List[Object], replicas: Dict[str, int], folder: str) -> List[Planned]:
    """All pods; `folder` is where their volumes will be."""
    rows = names(objects, replicas)
    where = addresses(rows)
    aliases = _aliases(objects, rows, where)
    return [_pod(objects, pod, what, number, where[what], aliases, f"{folder}/{what}") for pod, what, number in rows]


def _aliases(objects: List[Object], rows: List[tuple], where: Dict[str, str]) -> List[Object]:
    """What DNS says in a cluster: a Service is its pods, and a StatefulSet's pods have names below their Service."""
    hosts: Dict[str, List[str]] = {}

    def add(address: str, short: str, namespace: Optional[str]) -> None:
        space = namespace or "default"
        hosts.setdefault(address, []).extend(
            [short, f"{short}.{space}", f"{short}.{space}.svc", f"{short}.{space}.svc.{DOMAIN}"]
        )

    for service in of_kind(objects, "Service"):
        selector = {"matchLabels": service["spec"].get("selector") or {"": ""}}
        members = [row for row in rows if matches(selector, row[0].labels)]
        # A file of hosts spreads no load: behind an address that a Service has for itself, the first pod answers.
        headless = service["spec"].get("clusterIP") == "None"
        for pod, what, _ in members if headless else members[:1]:
            add(where[what], name(service), service["metadata"].get("namespace"))
        for pod, what, _ in members:
            if pod.kind == "StatefulSet" and pod.owner["spec"].get("serviceName") == name(service):
                add(where[what], f"{what}.{name(service)}", service["metadata"].get("namespace"))
    return [{"ip": address, "hostnames": found} for address, found in sorted(hosts.items())]


def _pod(
    objects: List[Object], pod: Pod, what: str, number: int, address: str, aliases: List[Object], folder: str
) -> Planned:
    labels = {**pod.labels, INDEX: str(number)} if pod.kind == "StatefulSet" else dict(pod.labels)
    fields = {
        "metadata.name": what, "metadata.namespace": pod.owner["metadata"].get("namespace", "default"), "status.podIP": address,
        **{f"metadata.labels['{key}']": value for key, value in labels.items()},
    }
    planned = Planned(what, pod.component, address, {})
    claims = [item["metadata"]["name"] for item in pod.owner["spec"].get("volumeClaimTemplates", [])]
    volumes = []
    for volume in [*pod.spec.get("volumes", []), *({"name": claim} for claim in claims)]:
        path = f"{folder}/{volume['name']}"
        planned.folders[path] = _files(objects, volume)
        volumes.append({"name": volume["name"], "hostPath": {"path": path, "type": "Directory"}})
    spec: Object = {
        "hostname": what,
        "hostAliases": [alias for alias in aliases if alias["ip"] != address]
        + [alias for alias in aliases if alias["ip"] == address],
        "restartPolicy": "Never" if pod.kind in ("Job", "CronJob") else "Always",
        "terminationGracePeriodSeconds": pod.spec.get("terminationGracePeriodSeconds", 30),
        "securityContext": {
            key: value for key, value in pod.spec.get("securityContext", {}).items() if key in ("runAsUser", "runAsGroup", "runAsNonRoot")
        },
        "containers": [_container(objects, one, fields) for one in pod.spec["containers"]],
        "volumes": volumes,
    }
    if pod.spec.get("initContainers"):
        spec["initContainers"] = [_container(objects, one, fields) for one in pod.spec["initContainers"]]
    planned.manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": what, "labels": labels}, "spec": spec}
    return planned


def _container(objects: List[Object], container: Object, fields: Dict[str, str]) -> Object:
    found = {
        key: copy.deepcopy(container[key])
        for key in ("name", "image", "command", "args", "volumeMounts", "workingDir", "securityContext")
        if key in container
    }
    found.get("securityContext", {}).pop("seccompProfile", None)
    found["imagePullPolicy"] = "Never"
    environment = _environment(objects, container, fields)
    found["env"] = [{"name": key, "value": value} for key, value in environment.items()]
    for key in ("command", "args"):
        if key in found:
            found[key] = [_expand(word, environment) for word in found[key]]
    return found


def _environment(objects: List[Object], container: Object, fields: Dict[str, str]) -> Dict[str, str]:
    found: Dict[str, str] = {}
    for source in container.get("envFrom", []):
        found.update(_config(objects, source["configMapRef"]["name"]))
    for variable in container.get("env", []):
        origin = variable.get("valueFrom")
        if origin is None:
            value = _expand(variable.get("value", ""), found)
        elif "fieldRef" in origin:
            value = fields[origin["fieldRef"]["fieldPath"]]
        elif "configMapKeyRef" in origin:
            value = _config(objects, origin["configMapKeyRef"]["name"])[origin["configMapKeyRef"]["key"]]
        else:
            raise ValueError(f"{variable['name']} comes from {', '.join(origin)}, which is not understood here")
        found[variable["name"]] = value
    return found


def _expand(text: str, environment: Dict[str, str]) -> str:
    """$(NAME), as Kubernetes does it: what has no value stays as it is."""
    return re.sub(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)", lambda match: environment.get(match[1], match[0]), text)


def _config(objects: List[Object], wanted: str) -> Dict[str, str]:
    found = find(objects, "ConfigMap", wanted)
    if found is None:
        raise ValueError(f"there is no ConfigMap {wanted}")
    return found.get("data", {})


def _files(objects: List[Object], volume: Object) -> Dict[str, str]:
    if "configMap" in volume:
        return dict(_config(objects, volume["configMap"]["name"]))
    unknown = set(volume) - {"name", "emptyDir", "persistentVolumeClaim"}
    if unknown:
        raise ValueError(f"the volume {volume['name']} is a {', '.join(unknown)}, which is not understood here")
    return {}
