"""Makes of rendered manifests what `podman kube play` runs: one Pod at a time, with an address of its own.

What Kubernetes does and podman does not is done here: a controller's replicas become pods, a Service becomes lines of each
pod's hosts file, settings by reference are written out, and volumes become folders. What has no meaning without a kubelet
is left out: probes (`scenario` asks the same questions itself), shares of processors and memory, service accounts. All that
makes a pod strict stays: its user, the read-only root file system, no capabilities, no new privileges.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Dict, List, Tuple

from manifests.objects import Object, Pod, data, environment, expand, matches, name, of_kind, pods

NETWORK = "10.89.7"
INDEX = "apps.kubernetes.io/pod-index"
Row = Tuple[Pod, str, int]  # template, the pod's name, its number
Secrets = Dict[str, Dict[str, str]]
# Podman removes a container that has run before the others by itself, and 4.3 does so before it knows that it has ended.
ONCE_AND_KEPT = {"io.podman.annotations.init.container.type": "always"}


# Podman removes a container that has run before the others by itself, and 4.3 does so before it knows that it has ended.
ONCE_AND_KEPT = {"io.podman.annotations.init.container.type": "always"}


@dataclass
class Planned:
    """A pod to be: its manifest, its address, and the folders that it mounts, with the files that lie in them."""

    name: str
    address: str
    manifest: Object
    folders: Dict[str, Dict[str, str]] = field(default_factory=dict)
    # Those of Secrets, which nobody but the pod's user may look into.
    private: Dict[str, int] = field(default_factory=dict)


def names(objects: List[Object], replicas: Dict[str, int]) -> List[Row]:
    """Everything that is to run; `replicas` by the controller's name, else as it says."""
    found = []
    for pod in pods(objects):
        if pod.kind in ("Deployment", "StatefulSet"):
            count = replicas.get(pod.name, pod.owner["spec"].get("replicas", 1))
            found += [(pod, f"{pod.name}-{number}", number) for number in range(count)]
        elif pod.kind in ("Job", "CronJob"):
            found.append((pod, pod.name, 0))
    return found


def addresses(planned: List[Row]) -> Dict[str, str]:
    """One for each name, the same ones for the same names: pods that come later change none that is there."""
    by_name = sorted(planned, key=lambda row: (row[2], row[1]))
    return {what: f"{NETWORK}.{10 + number}" for number, (_, what, _) in enumerate(by_name)}


def plan(objects: List[Object], replicas: Dict[str, int], folder: str, secrets: Secrets = {}) -> List[Planned]:
    """All pods; `folder` is where their volumes will be, `secrets` what Secrets hold, by name and key."""
    rows = names(objects, replicas)
    where = addresses(rows)
    hosts = aliases(objects, rows, where)
    return [planned(objects, row, where[row[1]], hosts, f"{folder}/{row[1]}", secrets) for row in rows]


def aliases(objects: List[Object], rows: List[Row], where: Dict[str, str]) -> Dict[str, List[str]]:
    """What DNS says in a cluster: a Service is its pods, and a StatefulSet's pods have names below their Service."""
    hosts: Dict[str, List[str]] = {}
    for service in of_kind(objects, "Service"):
        space, selector = service["metadata"].get("namespace", "default"), service["spec"].get("selector") or {"": ""}
        members = [row for row in rows if matches({"matchLabels": selector}, row[0].labels)]
        # A file of hosts spreads no load: behind an address that a Service has for itself, the first pod answers.
        headless = service["spec"].get("clusterIP") == "None"
        known = [(what, name(service)) for _, what, _ in (members if headless else members[:1])]
        for pod, what, _ in members:
            if pod.kind == "StatefulSet" and pod.owner["spec"].get("serviceName") == name(service):
                known.append((what, f"{what}.{name(service)}"))
        for what, short in known:
            more = [f"{short}{end}" for end in ("", f".{space}", f".{space}.svc", f".{space}.svc.cluster.local")]
            hosts.setdefault(where[what], []).extend(more)
    return hosts


def planned(objects: List[Object], row: Row, address: str, hosts: Dict[str, List[str]], folder: str, secrets: Secrets) -> Planned:
    pod, what, number = row
    labels = {**pod.labels, INDEX: str(number)} if pod.kind == "StatefulSet" else dict(pod.labels)
    fields = {"metadata.name": what, "metadata.namespace": pod.owner["metadata"].get("namespace", "default"), "status.podIP": address}
    fields.update({f"metadata.labels['{key}']": value for key, value in labels.items()})
    metadata = {"name": what, "labels": labels, "annotations": ONCE_AND_KEPT}
    found = Planned(what, address, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata})
    claims = [{"name": item["metadata"]["name"]} for item in pod.owner["spec"].get("volumeClaimTemplates", [])]
    volumes = [*pod.spec.get("volumes", []), *claims]
    security = pod.spec.get("securityContext", {})
    for volume in volumes:
        found.folders[f"{folder}/{volume['name']}"] = files(objects, volume, secrets)
        if "secret" in volume:
            found.private[f"{folder}/{volume['name']}"] = security.get("runAsUser", 0)
    spec = found.manifest["spec"] = {
        "hostname": what,
        # Its own address comes last.
        "hostAliases": [{"ip": ip, "hostnames": hosts[ip]} for ip in sorted(hosts, key=lambda ip: (ip == address, ip))],
        "restartPolicy": "Never" if pod.kind in ("Job", "CronJob") else "Always",
        "terminationGracePeriodSeconds": pod.spec.get("terminationGracePeriodSeconds", 30),
        "securityContext": {key: security[key] for key in ("runAsUser", "runAsGroup", "runAsNonRoot") if key in security},
        "volumes": [
            {"name": one["name"], "hostPath": {"path": f"{folder}/{one['name']}", "type": "Directory"}} for one in volumes
        ],
    }
    for kind in ("containers", "initContainers"):
        if pod.spec.get(kind):
            spec[kind] = [container(objects, one, fields, secrets) for one in pod.spec[kind]]
    return found


def container(objects: List[Object], given: Object, fields: Dict[str, str], secrets: Secrets) -> Object:
    kept = ("name", "image", "command", "args", "volumeMounts", "workingDir", "securityContext")
    found = {key: copy.deepcopy(given[key]) for key in kept if key in given}
    found.get("securityContext", {}).pop("seccompProfile", None)
    found["imagePullPolicy"] = "Never"
    values = environment(given, objects, fields, secrets)
    found["env"] = [{"name": key, "value": value} for key, value in values.items()]
    for key in ("command", "args"):
        if key in found:
            found[key] = [expand(word, values) for word in found[key]]
    return found


def files(objects: List[Object], volume: Object, secrets: Secrets) -> Dict[str, str]:
    if "configMap" in volume:
        return dict(data(objects, volume["configMap"]["name"]))
    if volume.get("secret", {}).get("secretName") in secrets:
        held = secrets[volume["secret"]["secretName"]]
        items = volume["secret"].get("items") or [{"key": key, "path": key} for key in held]
        return {item["path"]: held[item["key"]] for item in items}
    unknown = set(volume) - {"name", "emptyDir", "persistentVolumeClaim"}
    if unknown:
        raise ValueError(f"the volume {volume['name']} is a {', '.join(unknown)}, which is not understood here")
    return {}
