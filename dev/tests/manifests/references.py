"""Names that have to lead somewhere: selectors, ports, volumes, paths, ConfigMaps, Secrets, accounts, targets, claims, addresses."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Dict, Iterator, List, Set, Tuple

from .objects import Object, Pod, environment, find, firesteel, matches, name, of_kind, pods, selected, selector_of, title

# A host with at least one letter, and a port. Schemes, users and paths stand around it.
ADDRESS = re.compile(r"(?<![\w.$)-])([a-z][a-z0-9-]*(?:\.[a-z0-9-]+)*):(\d{2,5})\b(?!\.)")
# An absolute path that begins a word or a value, and not one inside an address.
PATH = re.compile(r"(?<![^\s=,&])/[\w.-][\w./-]*")
# The API server, which is no object of ours.
ELSEWHERE = {"kubernetes.default.svc"}


def duplicates(objects: List[Object]) -> List[str]:
    keys = Counter((item["apiVersion"].split("/")[0], title(item), item["metadata"].get("namespace")) for item in objects)
    return [f"{key[1]}: is there twice" for key, count in keys.items() if count > 1]


def namespaces(objects: List[Object]) -> List[str]:
    """Everything lies in a namespace that is part of it."""
    known = {name(item) for item in of_kind(objects, "Namespace")}
    lost = [item for item in objects if item["kind"] != "Namespace" and item["metadata"].get("namespace") not in known]
    return [f"{title(item)}: its namespace is not among the objects" for item in lost]


def monitored(objects: List[Object], item: Object) -> List[Object]:
    """The Services that a ServiceMonitor selects."""
    services = of_kind(objects, "Service")
    return [one for one in services if matches(item["spec"]["selector"], one["metadata"].get("labels", {}))]


def selectors(objects: List[Object]) -> List[str]:
    """Whatever selects pods selects some, and a workload selects its own."""
    everyone = pods(objects)
    findings = [
        f"{title(item)}: selects no pod"
        for item in of_kind(objects, "Service", "PodDisruptionBudget", "PodMonitor")
        if not selected(selector_of(item), everyone)
    ]
    services = of_kind(objects, "ServiceMonitor")
    findings += [f"{title(item)}: selects no Service" for item in services if not monitored(objects, item)]
    for item in of_kind(objects, "Deployment", "StatefulSet"):
        chosen = [str(pod) for pod in selected(selector_of(item), everyone)]
        if chosen != [title(item)]:
            findings.append(f"{title(item)}: selects {', '.join(chosen) or 'nothing'}")
    for pod in everyone:
        affinity = pod.spec.get("affinity", {}).get("podAntiAffinity", {})
        rules = [term["podAffinityTerm"] for term in affinity.get("preferredDuringSchedulingIgnoredDuringExecution", [])]
        rules += affinity.get("requiredDuringSchedulingIgnoredDuringExecution", []) + pod.spec.get("topologySpreadConstraints", [])
        if not all(matches(rule["labelSelector"], pod.labels) for rule in rules):
            findings.append(f"{pod}: is spread apart from pods of another kind")
    return findings


def services(objects: List[Object]) -> List[str]:
    """A Service's port leads to a port of each pod behind it; a StatefulSet's Service is there and headless."""
    findings = []
    for item in of_kind(objects, "Service"):
        for pod in selected(selector_of(item), pods(objects)):
            for port in item["spec"]["ports"]:
                target = port.get("targetPort", port["port"])
                if target not in pod.ports() and target not in pod.ports().values():
                    findings.append(f"{title(item)}: port {target} is none of {pod}")
                elif pod.ports().get(target, target) != port["port"]:
                    findings.append(f"{title(item)}: port {port['port']} has another number in {pod}")
    for item in of_kind(objects, "StatefulSet"):
        service = find(objects, "Service", item["spec"]["serviceName"])
        if not service or service["spec"].get("clusterIP") != "None":
            findings.append(f"{title(item)}: {item['spec']['serviceName']} is no headless Service")
    for item in of_kind(objects, "ServiceMonitor"):
        there = {port.get("name") for service in monitored(objects, item) for port in service["spec"]["ports"]}
        ports = [end["port"] for end in item["spec"]["endpoints"]]
        findings += [f"{title(item)}: no Service has port {port}" for port in ports if port not in there]
    for item in of_kind(objects, "PodMonitor"):
        for pod in selected(item["spec"]["selector"], pods(objects)):
            ports = [end["port"] for end in item["spec"]["podMetricsEndpoints"]]
            findings += [f"{title(item)}: {pod} has no port {port}" for port in ports if port not in pod.ports()]
    return findings


def volumes(objects: List[Object]) -> List[str]:
    """A mount has a volume and a volume a mount; scratch space has a size; claims are there."""
    findings = []
    for pod in pods(objects):
        given = pod.spec.get("volumes", [])
        claimed = {claim["metadata"]["name"] for claim in pod.owner.get("spec", {}).get("volumeClaimTemplates", [])}
        there = {volume["name"] for volume in given} | claimed
        mounted = {mount["name"] for container in pod.containers() for mount in container.get("volumeMounts", [])}
        findings += [f"{pod}: mounts {one}, which is no volume" for one in sorted(mounted - there)]
        findings += [f"{pod}: nobody mounts the volume {one}" for one in sorted(there - mounted)]
        for volume in given:
            if "emptyDir" in volume and not (volume["emptyDir"] or {}).get("sizeLimit"):
                findings.append(f"{pod}: the volume {volume['name']} has no size limit")
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim and not find(objects, "PersistentVolumeClaim", claim):
                findings.append(f"{pod}: the claim {claim} is not among the objects")
            kinds = sorted(set(volume) - {"name"})
            if len(kinds) != 1:
                findings.append(f"{pod}: the volume {volume['name']} is {' and '.join(kinds) or 'nothing'}")
    return findings


def paths(objects: List[Object]) -> List[str]:
    """A path in an argument, or in a setting of ours, lies in a volume that the container mounts, and is one of its files where
    these are named: there is nothing of that kind in an image."""
    findings = []
    for pod in pods(objects):
        given = {volume["name"]: volume for volume in pod.spec.get("volumes", [])}
        for container in pod.containers():
            texts = list(container.get("args", []))
            if firesteel(container):
                texts += [value for key, value in environment(container, objects).items() if key.startswith("FIRESTEEL_")]
            mounts = [(mount["mountPath"], given.get(mount["name"], {})) for mount in container.get("volumeMounts", [])]
            for path in (path for text in texts for path in PATH.findall(text)):
                held = [(path[len(folder) :].strip("/"), volume) for folder, volume in mounts if f"{path}/".startswith(f"{folder}/")]
                if not held:
                    findings.append(f"{pod}/{container['name']}: {path} is in no volume that it mounts")
                findings += [
                    f"{pod}/{container['name']}: {path} is no file of the volume {volume['name']}"
                    for inner, volume in held
                    if inner and _files(volume) and inner not in _files(volume)
                ]
    return findings


def _files(volume: Object) -> Set[str]:
    """The files of a volume that names what it takes out of a Secret or a ConfigMap; of any other, nothing."""
    source = volume.get("secret") or volume.get("configMap") or {}
    return {item["path"] for item in source.get("items", [])}


def configuration(objects: List[Object], secrets: Dict[str, Any]) -> List[str]:
    """ConfigMaps and their keys are among the objects; Secrets and theirs are on the list of what users make."""
    held = {("Secret", wanted): set(secret["keys"]) for wanted, secret in secrets.items()}
    held.update({("ConfigMap", name(item)): set(item.get("data", {})) for item in of_kind(objects, "ConfigMap")})
    findings = []
    for pod in pods(objects):
        for kind, wanted, keys in _configured(pod):
            there = held.get((kind, wanted))
            if there is None:
                findings.append(f"{pod}: the {kind} {wanted} is nowhere")
            findings += [f"{pod}: the {kind} {wanted} has no {key}" for key in keys if there is not None and key not in there]
    return findings


def _configured(pod: Pod) -> Iterator[Tuple[str, str, List[str]]]:
    """(kind, name, keys) of whatever a pod takes out of ConfigMaps and Secrets."""
    for field, kind in (("configMap", "ConfigMap"), ("secret", "Secret")):
        for container in pod.containers():
            for source in container.get("envFrom", []):
                if f"{field}Ref" in source:
                    yield kind, source[f"{field}Ref"]["name"], []
            for variable in container.get("env", []):
                reference = variable.get("valueFrom", {}).get(f"{field}KeyRef")
                if reference:
                    yield kind, reference["name"], [reference["key"]]
        for volume in pod.spec.get("volumes", []):
            if field in volume:
                wanted = volume[field].get("secretName") or volume[field]["name"]
                yield kind, wanted, [item["key"] for item in volume[field].get("items", [])]


def accounts(objects: List[Object]) -> List[str]:
    """A pod's account is there, has no token where nothing needs one, and roles are bound to accounts that are there."""
    findings = []
    bound = set()
    for item in of_kind(objects, "RoleBinding"):
        wanted = [("Role", "the Role", item["roleRef"]["name"])]
        wanted += [("ServiceAccount", "the account", subject["name"]) for subject in item["subjects"]]
        bound |= {subject["name"] for subject in item["subjects"]}
        findings += [f"{title(item)}: {what} {one} is not among the objects" for kind, what, one in wanted if not find(objects, kind, one)]
    for pod in pods(objects):
        account = pod.spec.get("serviceAccountName", "default")
        if pod.kind != "ConfigMap" and not find(objects, "ServiceAccount", account):
            findings.append(f"{pod}: the account {account} is not among the objects")
        if pod.spec.get("automountServiceAccountToken") is not (account in bound):
            needs = "needs a token, and says otherwise" if account in bound else "does not say that it needs no token"
            findings.append(f"{pod}: {needs}")
    return findings


def targets(objects: List[Object]) -> List[str]:
    """An autoscaler's target is there, has no number of its own, and has one autoscaler."""
    findings = []
    scaled: Set[str] = set()
    for item in of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject"):
        reference = item["spec"]["scaleTargetRef"]
        kind, wanted = reference.get("kind", "Deployment"), reference["name"]
        target = find(objects, kind, wanted)
        if kind not in ("Deployment", "StatefulSet") or not target:
            findings.append(f"{title(item)}: {kind}/{wanted} is not among the objects")
        elif "replicas" in target["spec"]:
            findings.append(f"{title(item)}: {kind}/{wanted} has a number of replicas, which each apply would set again")
        if wanted in scaled:
            findings.append(f"{title(item)}: {wanted} has two autoscalers")
        scaled.add(wanted)
        suffix = "Replicas" if item["kind"] == "HorizontalPodAutoscaler" else "ReplicaCount"
        low, high = item["spec"].get(f"min{suffix}"), item["spec"].get(f"max{suffix}")
        if low is None or high is None or low >= high:
            findings.append(f"{title(item)}: from {low} to {high} is no range")
    return findings


def addresses(objects: List[Object]) -> List[str]:
    """Addresses in settings, arguments and triggers: each names a Service, or one pod of a StatefulSet, and a port of it."""
    findings = []
    for who, text, own in _texts(objects):
        for host, port in ADDRESS.findall(text):
            beside = host == "localhost" and int(port) in own
            if not beside and host not in ELSEWHERE and not _leads(objects, host, int(port)):
                findings.append(f"{who}: {host}:{port} leads nowhere")
    return findings


def _texts(objects: List[Object]) -> Iterator[Tuple[str, str, List[int]]]:
    """(who says it, what, the ports beside it in the same pod)."""
    for pod in pods(objects):
        own = list(pod.ports().values())
        for container in pod.containers():
            who = f"{pod}/{container['name']}"
            for variable, value in environment(container, objects).items():
                # Listeners are addresses of the pod's own.
                if "LISTENERS" not in variable:
                    yield f"{who} {variable}", value, own
            for argument in container.get("args", []):
                if argument.startswith("--") and "image" not in argument:
                    yield who, argument, own
    for item in of_kind(objects, "ScaledObject"):
        for trigger in item["spec"]["triggers"]:
            for value in trigger["metadata"].values():
                yield title(item), value, []


def _leads(objects: List[Object], host: str, port: int) -> bool:
    spaces = "|".join(name(item) for item in of_kind(objects, "Namespace"))
    host = re.sub(rf"\.(?:{spaces})\.svc(?:\.cluster\.local)?$", "", host)
    pod, _, service_name = host.rpartition(".")
    service = find(objects, "Service", service_name)
    if not service or port not in [one["port"] for one in service["spec"]["ports"]]:
        return False
    owner, _, number = pod.rpartition("-")
    members = find(objects, "StatefulSet", owner)
    return not pod or bool(members) and members["spec"]["serviceName"] == service_name and int(number) < members["spec"]["replicas"]
