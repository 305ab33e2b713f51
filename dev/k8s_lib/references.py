"""Names that have to lead somewhere: selectors, ports, volumes, ConfigMaps, Secrets, accounts, targets, claims."""

from __future__ import annotations

from typing import Any, Dict, List, Set

from .objects import Object, Pod, find, matches, name, of_kind, pods, title

SCALABLE = {"Deployment", "StatefulSet"}


def duplicates(objects: List[Object]) -> List[str]:
    seen: Set[str] = set()
    findings = []
    for item in objects:
        key = f"{item['apiVersion'].split('/')[0]} {title(item)} in {item['metadata'].get('namespace')}"
        if key in seen:
            findings.append(f"{title(item)}: is there twice")
        seen.add(key)
    return findings


def namespaces(objects: List[Object]) -> List[str]:
    """Everything lies in a namespace that is part of it."""
    known = {name(item) for item in of_kind(objects, "Namespace")}
    lying = [item for item in objects if item["kind"] != "Namespace"]
    lost = [item for item in lying if item["metadata"].get("namespace") not in known]
    return [f"{title(item)}: its namespace is not among the objects" for item in lost]


def selectors(objects: List[Object]) -> List[str]:
    """Whatever selects pods selects some, and a workload selects its own."""
    findings = []
    everyone = pods(objects)
    for item in of_kind(objects, "Service"):
        if not _selected({"matchLabels": item["spec"].get("selector", {})}, everyone):
            findings.append(f"{title(item)}: selects no pod")
    for item in of_kind(objects, "PodDisruptionBudget", "PodMonitor"):
        if not _selected(item["spec"]["selector"], everyone):
            findings.append(f"{title(item)}: selects no pod")
    for item in of_kind(objects, "ServiceMonitor"):
        services = of_kind(objects, "Service")
        if not any(matches(item["spec"]["selector"], service["metadata"].get("labels", {})) for service in services):
            findings.append(f"{title(item)}: selects no Service")
    for item in of_kind(objects, "Deployment", "StatefulSet"):
        chosen = _selected(item["spec"]["selector"], everyone)
        if [str(pod) for pod in chosen] != [title(item)]:
            findings.append(f"{title(item)}: selects {', '.join(map(str, chosen)) or 'nothing'}")
    for pod in everyone:
        for rule in _spread_rules(pod.spec):
            if not matches(rule["labelSelector"], pod.labels):
                findings.append(f"{pod}: is spread apart from pods of another kind")
    return findings


def _spread_rules(spec: Object) -> List[Object]:
    affinity = spec.get("affinity", {}).get("podAntiAffinity", {})
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", [])
    preferred = [term["podAffinityTerm"] for term in affinity.get("preferredDuringSchedulingIgnoredDuringExecution", [])]
    return [*required, *preferred, *spec.get("topologySpreadConstraints", [])]


def _selected(selector: Object, everyone: List[Pod]) -> List[Pod]:
    return [pod for pod in everyone if selector.get("matchLabels") and matches(selector, pod.labels)]


def services(objects: List[Object]) -> List[str]:
    """A Service's port leads to a port of each pod behind it; a StatefulSet's Service is there and headless."""
    findings = []
    for item in of_kind(objects, "Service"):
        for pod in _selected({"matchLabels": item["spec"].get("selector", {})}, pods(objects)):
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
        chosen = [s for s in of_kind(objects, "Service") if matches(item["spec"]["selector"], s["metadata"].get("labels", {}))]
        names = {port.get("name") for service in chosen for port in service["spec"]["ports"]}
        wanted = [endpoint["port"] for endpoint in item["spec"]["endpoints"]]
        findings += [f"{title(item)}: no Service has port {port}" for port in wanted if port not in names]
    for item in of_kind(objects, "PodMonitor"):
        for endpoint in item["spec"]["podMetricsEndpoints"]:
            for pod in _selected(item["spec"]["selector"], pods(objects)):
                if endpoint["port"] not in pod.ports():
                    findings.append(f"{title(item)}: {pod} has no port {endpoint['port']}")
    return findings


def volumes(objects: List[Object]) -> List[str]:
    """A mount has a volume and a volume a mount; scratch space has a size; claims are there."""
    findings = []
    for pod in pods(objects):
        claimed = [claim["metadata"] for claim in pod.owner.get("spec", {}).get("volumeClaimTemplates", [])]
        there = {volume["name"] for volume in pod.spec.get("volumes", [])} | {claim["name"] for claim in claimed}
        mounted = {mount["name"] for container in pod.containers() for mount in container.get("volumeMounts", [])}
        findings += [f"{pod}: mounts {one}, which is no volume" for one in sorted(mounted - there)]
        findings += [f"{pod}: nobody mounts the volume {one}" for one in sorted(there - mounted)]
        for volume in pod.spec.get("volumes", []):
            if "emptyDir" in volume and not (volume["emptyDir"] or {}).get("sizeLimit"):
                findings.append(f"{pod}: the volume {volume['name']} has no size limit")
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim and not find(objects, "PersistentVolumeClaim", claim):
                findings.append(f"{pod}: the claim {claim} is not among the objects")
            kinds = sorted(set(volume) - {"name"})
            if len(kinds) != 1:
                findings.append(f"{pod}: the volume {volume['name']} is {' and '.join(kinds) or 'nothing'}")
    return findings


def configuration(objects: List[Object], secrets: Dict[str, Any]) -> List[str]:
    """ConfigMaps and their keys are among the objects; Secrets and theirs are on the list of what users make."""
    findings = []

    def key(pod: Pod, kind: str, wanted: str, keys: List[str]) -> None:
        if kind == "ConfigMap":
            there = find(objects, "ConfigMap", wanted)
            held = set(there.get("data", {})) if there else set()
        else:
            there = secrets.get(wanted)
            held = set(there["keys"]) if there else set()
        if not there:
            findings.append(f"{pod}: the {kind} {wanted} is nowhere")
        findings.extend(f"{pod}: the {kind} {wanted} has no {one}" for one in keys if there and one not in held)

    for pod in pods(objects):
        for container in pod.containers():
            for source in container.get("envFrom", []):
                if "configMapRef" in source:
                    key(pod, "ConfigMap", source["configMapRef"]["name"], [])
                if "secretRef" in source:
                    key(pod, "Secret", source["secretRef"]["name"], [])
            for variable in container.get("env", []):
                reference = variable.get("valueFrom", {})
                for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                    if field in reference:
                        key(pod, kind, reference[field]["name"], [reference[field]["key"]])
        for volume in pod.spec.get("volumes", []):
            if "configMap" in volume:
                items = [item["key"] for item in volume["configMap"].get("items", [])]
                key(pod, "ConfigMap", volume["configMap"]["name"], items)
            if "secret" in volume:
                items = [item["key"] for item in volume["secret"].get("items", [])]
                key(pod, "Secret", volume["secret"]["secretName"], items)
    return findings


def accounts(objects: List[Object]) -> List[str]:
    """A pod's account is there, has no token where nothing needs one, and roles are bound to accounts that are there."""
    findings = []
    bound = set()
    for item in of_kind(objects, "RoleBinding"):
        if not find(objects, "Role", item["roleRef"]["name"]):
            findings.append(f"{title(item)}: the Role {item['roleRef']['name']} is not among the objects")
        for subject in item["subjects"]:
            bound.add(subject["name"])
            if not find(objects, "ServiceAccount", subject["name"]):
                findings.append(f"{title(item)}: the account {subject['name']} is not among the objects")
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
    scaled: List[str] = []
    for item in of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject"):
        reference = item["spec"]["scaleTargetRef"]
        kind, wanted = reference.get("kind", "Deployment"), reference["name"]
        target = find(objects, kind, wanted)
        if kind not in SCALABLE or not target:
            findings.append(f"{title(item)}: {kind}/{wanted} is not among the objects")
        elif "replicas" in target["spec"]:
            findings.append(f"{title(item)}: {kind}/{wanted} has a number of replicas, which each apply would set again")
        if wanted in scaled:
            findings.append(f"{title(item)}: {wanted} has two autoscalers")
        scaled.append(wanted)
        suffix = "Replicas" if item["kind"] == "HorizontalPodAutoscaler" else "ReplicaCount"
        low, high = item["spec"].get(f"min{suffix}"), item["spec"].get(f"max{suffix}")
        if low is None or high is None or low >= high:
            findings.append(f"{title(item)}: from {low} to {high} is no range")
    return findings
