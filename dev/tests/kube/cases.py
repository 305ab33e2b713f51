"""What the API server is asked: every overlay and component is taken as it is, and what must not be taken is refused."""

from __future__ import annotations

import json
from typing import Callable, Dict, Iterator, List, Tuple

from manifests import program, render
from manifests.objects import name, of_kind
from shared_lib.program import ROOT, Problem, run
from shared_lib.program import until as until_within

from .cluster import Cluster

NAMESPACE = "firesteel"
APPLY = ["apply", "--server-side", "--validate=strict"]
WITHIN = 60.0
Case = Tuple[str, Callable[[], None]]


def all_of(cluster: Cluster) -> Iterator[Case]:
    yield "definitions of KEDA's and Prometheus' objects", lambda: definitions(cluster)
    for overlay in render.overlays():
        yield f"overlay {overlay}: taken by server-side apply with strict validation", lambda: take(cluster, overlay)
        yield f"overlay {overlay}: applied again, nothing changes", lambda: again(cluster, overlay)
        yield f"overlay {overlay}: every controller makes its pods, under restricted Pod Security", lambda: pods(cluster, overlay)
        if overlay == "local":
            yield "the Job's account makes the Secrets, once, and can read none", lambda: credentials(cluster)
            yield "kubectl scale deployment/executor --replicas=8, and down to 1", lambda: scale(cluster)
            yield "kubectl get -o wide", lambda: wide(cluster)
            yield "kubectl create job report --from=cronjob/report", lambda: report(cluster)
            yield "a field that there is not is refused", lambda: unknown_field(cluster)
            yield "a pod that runs as root is refused", lambda: root_pod(cluster)
            for component in render.components():
                yield f"component {component} over local: taken (dry run)", lambda: dry_run(cluster, component)
        yield f"overlay {overlay}: deleted, nothing is left", lambda: delete(cluster, overlay)


def definitions(cluster: Cluster) -> None:
    folder = str(ROOT / "dev/kube/crds")
    cluster.kubectl(*APPLY, "--filename", folder)
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", "--filename", folder)


def take(cluster: Cluster, overlay: str) -> None:
    said = cluster.kubectl(*APPLY, "--kustomize", str(render.OVERLAYS / overlay)).splitlines()
    wanted = len(render.overlay(overlay))
    if len(said) != wanted:
        raise Problem(f"{wanted} objects were sent and {len(said)} taken")


def again(cluster: Cluster, overlay: str) -> None:
    before = versions(cluster, overlay)
    cluster.kubectl(*APPLY, "--kustomize", str(render.OVERLAYS / overlay))
    changed = [key for key, generation in versions(cluster, overlay).items() if before[key] != generation]
    if changed:
        raise Problem(f"the second time changed {', '.join(changed)}")


def versions(cluster: Cluster, overlay: str) -> Dict[str, int]:
    """The generation of each object: it counts changes of what is wanted, not of what is."""
    found = cluster.get("--kustomize", str(render.OVERLAYS / overlay))
    return {f"{item['kind']}/{name(item)}": item["metadata"].get("generation", 0) for item in found}


def pods(cluster: Cluster, overlay: str) -> None:
    """As many pods as are wanted. What Pod Security or a quota refuses shows as pods that are missing."""
    wanted: Dict[Tuple[str, str], int] = {}
    for item in of_kind(render.overlay(overlay), "Deployment", "StatefulSet", "Job"):
        wanted[(item["kind"], name(item))] = item["spec"].get("replicas", 1)
    seen: Dict[Tuple[str, str], int] = {}

    def enough() -> bool:
        for item in cluster.get("deployments,statefulsets,jobs", "--namespace", NAMESPACE):
            status = item.get("status", {})
            seen[(item["kind"], name(item))] = status.get("active" if item["kind"] == "Job" else "replicas", 0)
        # An autoscaler may want more than the manifest, which then names no number.
        return all(seen.get(key, 0) >= number for key, number in wanted.items())

    def missing() -> str:
        short = [f"{kind}/{what}: {seen.get((kind, what), 0)} of {n}" for (kind, what), n in wanted.items()
                 if seen.get((kind, what), 0) < n]
        warnings = [event["message"] for event in cluster.get("events", "--namespace", NAMESPACE)
                    if event.get("type") == "Warning" and "Create" in event.get("reason", "")]
        return "; ".join([*short, *warnings[:3]])

    until(enough, missing)


def credentials(cluster: Cluster) -> None:
    """What the Job `credentials` does, by the binary from outside of a pod: with the token of its account, at this API server."""
    binary = program.binary()
    if not binary:
        raise Problem("there is no binary of firesteel: run 'make build' first")
    account = cluster.folder / "account"
    account.mkdir(mode=0o700, exist_ok=True)
    token = cluster.kubectl("--namespace", NAMESPACE, "create", "token", "credentials").strip()
    (account / "token").write_text(token)
    (account / "namespace").write_text(NAMESPACE)
    (account / "ca.crt").write_text((cluster.folder / "certificates/apiserver.crt").read_text())
    [job] = [item for item in of_kind(render.overlay("local"), "Job") if name(item) == "credentials"]
    arguments = job["spec"]["template"]["spec"]["containers"][0]["args"]
    make = [str(binary), *arguments, f"--api-server={cluster.url}", f"--service-account={account}"]
    wanted = json.loads((ROOT / "k8s/made-secrets.json").read_text())
    seen = []
    for _ in range(2):
        run(make, "the Secrets cannot be made")
        found = {name(item): item for item in cluster.get("secrets", "--namespace", NAMESPACE)}
        if {what: set(found[what]["data"]) for what in wanted} != {what: set(one["keys"]) for what, one in wanted.items()}:
            raise Problem(f"there are {sorted(found)}")
        seen.append({what: found[what]["metadata"]["resourceVersion"] for what in wanted})
    if seen[0] != seen[1]:
        raise Problem("the second time changed what was there")
    who = f"system:serviceaccount:{NAMESPACE}:credentials"
    for verb in ("get", "list", "delete", "update"):
        said = cluster.kubectl("--namespace", NAMESPACE, "auth", "can-i", verb, "secrets", "--as", who, fails=True, streams=True)
        if "no" not in said.split():
            raise Problem(f"the account may {verb} Secrets: {said}")


def scale(cluster: Cluster) -> None:
    for number in (8, 1):
        cluster.kubectl("--namespace", NAMESPACE, "scale", "deployment/executor", f"--replicas={number}")
        until(
            lambda: len(executors(cluster)) == number,
            lambda: f"{len(executors(cluster))} executors where {number} are wanted",
        )
        [found] = cluster.get("deployment/executor", "--namespace", NAMESPACE)
        if found["spec"]["replicas"] != number:
            raise Problem(f"the Deployment wants {found['spec']['replicas']}")


def executors(cluster: Cluster) -> List[Dict]:
    found = cluster.get("pods", "--namespace", NAMESPACE, "--selector", "app.kubernetes.io/component=executor")
    return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]


def wide(cluster: Cluster) -> None:
    said = cluster.kubectl("--namespace", NAMESPACE, "get", "all", "--output", "wide")
    for word in ("deployment.apps/executor", "statefulset.apps/kafka", "service/scheduler", "job.batch/producer", "IMAGES"):
        if word not in said:
            raise Problem(f"{word} is missing in:\n{said}")
    print("\n".join(line for line in said.splitlines() if line.startswith("deployment.apps")), flush=True)


def report(cluster: Cluster) -> None:
    cluster.kubectl("--namespace", NAMESPACE, "create", "job", "report", "--from=cronjob/report")
    until(
        lambda: cluster.get("job/report", "--namespace", NAMESPACE)[0].get("status", {}).get("active") == 1,
        lambda: "the Job makes no pod",
    )


def unknown_field(cluster: Cluster) -> None:
    """That strict validation is on, or every case above would say little."""
    for kind, field in (("Deployment", "replicaz"), ("ScaledObject", "minReplicas")):
        overlay = "local" if kind == "Deployment" else "keda"
        if overlay not in render.overlays():
            continue
        item = of_kind(render.overlay(overlay), kind)[0]
        item["spec"][field] = 3
        said = cluster.kubectl(*APPLY, "--dry-run=server", "--filename", "-", stdin=json.dumps(item), fails=True)
        if field not in said:
            raise Problem(f"a {kind} with {field} was refused for another reason: {said.strip()[:500]}")


def root_pod(cluster: Cluster) -> None:
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "root", "namespace": NAMESPACE},
        "spec": {"serviceAccountName": "firesteel", "containers": [{"name": "root", "image": "firesteel:0.1.0"}]},
    }
    said = cluster.kubectl("create", "--filename", "-", stdin=json.dumps(pod), fails=True)
    if "violates PodSecurity" not in said:
        raise Problem(f"it was refused for another reason: {said.strip()[:500]}")


def dry_run(cluster: Cluster, component: str) -> None:
    # The template of a Job that is there may not change: whoever adds a component to a cluster lets them end, or deletes them.
    cluster.kubectl("--namespace", NAMESPACE, "delete", "jobs", "--all")
    objects = {"apiVersion": "v1", "kind": "List", "items": render.with_component("local", component)}
    # The running objects' number of replicas belongs to `kubectl scale` by now, and that of the components to them.
    cluster.kubectl(*APPLY, "--dry-run=server", "--force-conflicts", "--filename", "-", stdin=json.dumps(objects))


def delete(cluster: Cluster, overlay: str) -> None:
    cluster.kubectl("delete", "--kustomize", str(render.OVERLAYS / overlay), "--ignore-not-found", "--timeout=120s")
    left = [item for item in cluster.get("namespaces") if name(item) == NAMESPACE]
    if left:
        raise Problem("the namespace is still there")


def until(done: Callable[[], bool], why: Callable[[], str]) -> None:
    until_within(done, WITHIN, why)
