"""Tests of the plan by which `dev/pods` runs manifests under podman: what becomes of each thing that Kubernetes would do."""

import unittest

from fakes import ROOT  # noqa: F401 (puts dev/ on the path)

from pods import images
from pods.plan import addresses, names, plan

COMPONENT = "app.kubernetes.io/component"


def controller(kind, name, spec, **more):
    template = {"metadata": {"labels": {COMPONENT: name}}, "spec": spec}
    return {"kind": kind, "metadata": {"name": name, "namespace": "space"}, "spec": {"template": template, **more}}


def service(name, component, **more):
    return {
        "kind": "Service", "metadata": {"name": name, "namespace": "space"}, "spec": {"selector": {COMPONENT: component}, **more},
    }


def container(**more):
    return {"name": "main", "image": "x:1", **more}


OBJECTS = [
    {"kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"A": "1", "script.js": "print()"}},
    service("web", "web"),
    service("workers", "worker", clusterIP="None"),
    service("store-nodes", "store", clusterIP="None"),
    controller("Deployment", "web", {"containers": [container(
        args=["serve", "--name=$(NAME)", "$(UNKNOWN)"],
        envFrom=[{"configMapRef": {"name": "settings"}}],
        env=[{"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
             {"name": "URL", "value": "http://$(NAME).$(A)"},
             {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        readinessProbe={"tcpSocket": {"port": 1}}, resources={"limits": {"memory": "1Gi"}},
        securityContext={"readOnlyRootFilesystem": True, "seccompProfile": {"type": "RuntimeDefault"}},
        volumeMounts=[{"name": "tmp", "mountPath": "/tmp"}],
    )], "securityContext": {"runAsUser": 7, "fsGroup": 7}, "serviceAccountName": "x",
        "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "scripts", "configMap": {"name": "settings"}}]}),
    controller("Deployment", "worker", {"containers": [container()]}, replicas=2),
    controller("StatefulSet", "store", {"containers": [container(
        env=[{"name": "ID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']"}}}],
    )]}, serviceName="store-nodes", volumeClaimTemplates=[{"metadata": {"name": "data"}}]),
    controller("Job", "once", {"containers": [container()], "restartPolicy": "OnFailure"}),
]


class TestPlan(unittest.TestCase):
    def setUp(self):
        self.pods = {pod.name: pod for pod in plan(OBJECTS, {}, "/volumes")}

    def main(self, pod):
        return self.pods[pod].manifest["spec"]["containers"][0]

    def test_each_replica_is_a_pod_with_an_address(self):
        self.assertEqual(sorted(self.pods), ["once", "store-0", "web-0", "worker-0", "worker-1"])
        self.assertEqual(len({pod.address for pod in self.pods.values()}), 5)

    def test_more_replicas_change_no_address(self):
        more = addresses(names(OBJECTS, {"worker": 5}))
        for name, pod in self.pods.items():
            self.assertEqual(more[name], pod.address)

    def test_settings_are_written_out(self):
        environment = {one["name"]: one["value"] for one in self.main("web-0")["env"]}
        self.assertEqual(environment, {
            "A": "1", "script.js": "print()", "NAME": "web-0", "URL": "http://web-0.1", "IP": self.pods["web-0"].address,
        })
        self.assertEqual(self.main("web-0")["args"], ["serve", "--name=web-0", "$(UNKNOWN)"])
        self.assertEqual(self.main("store-0")["env"], [{"name": "ID", "value": "0"}])

    def test_services_are_names_of_hosts(self):
        hosts = {name: alias["ip"] for alias in self.pods["once"].manifest["spec"]["hostAliases"] for name in alias["hostnames"]}
        self.assertEqual(hosts["web"], self.pods["web-0"].address)
        self.assertEqual(hosts["web.space.svc.cluster.local"], self.pods["web-0"].address)
        self.assertEqual(hosts["store-0.store-nodes"], self.pods["store-0"].address)
        workers = [alias["ip"] for alias in self.pods["once"].manifest["spec"]["hostAliases"] if "workers" in alias["hostnames"]]
        self.assertEqual(workers, [self.pods["worker-0"].address, self.pods["worker-1"].address])

    def test_volumes_are_folders(self):
        self.assertEqual(self.pods["web-0"].folders, {
            "/volumes/web-0/tmp": {}, "/volumes/web-0/scripts": {"A": "1", "script.js": "print()"},
        })
        self.assertEqual(list(self.pods["store-0"].folders), ["/volumes/store-0/data"])

    def test_what_is_strict_stays_and_what_needs_a_kubelet_goes(self):
        spec = self.pods["web-0"].manifest["spec"]
        self.assertEqual(spec["securityContext"], {"runAsUser": 7})
        self.assertEqual(self.main("web-0")["securityContext"], {"readOnlyRootFilesystem": True})
        for gone in ("readinessProbe", "resources", "envFrom"):
            self.assertNotIn(gone, self.main("web-0"))
        self.assertNotIn("serviceAccountName", spec)

    def test_secrets_are_files_of_the_pods_user_and_values(self):
        secret = {"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
        spec = {
            "containers": [container(env=[secret, {"name": "Y", "value": "x=$(X)"}])], "securityContext": {"runAsUser": 7},
            "volumes": [{"name": "v", "secret": {"secretName": "s", "items": [{"key": "k", "path": "file"}]}}, {"name": "w", "secret": {"secretName": "s"}}],
        }
        [pod] = plan([controller("Deployment", "one", spec)], {}, "/volumes", {"s": {"k": "1", "other": "2"}})
        self.assertEqual(pod.folders, {"/volumes/one-0/v": {"file": "1"}, "/volumes/one-0/w": {"k": "1", "other": "2"}})
        self.assertEqual(pod.private, {"/volumes/one-0/v": 7, "/volumes/one-0/w": 7})
        self.assertEqual(pod.manifest["spec"]["containers"][0]["env"], [{"name": "X", "value": "1"}, {"name": "Y", "value": "x=1"}])

    def test_what_is_not_understood_is_an_error(self):
        secret = {"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
        for spec, text in (
            ({"containers": [container(env=[secret])]}, "X comes from secretKeyRef"),
            ({"containers": [container()], "volumes": [{"name": "v", "secret": {}}]}, "v is a secret"),
            ({"containers": [container(envFrom=[{"configMapRef": {"name": "none"}}])]}, "no ConfigMap none"),
        ):
            with self.assertRaisesRegex(ValueError, text):
                plan([controller("Deployment", "one", spec)], {}, "/volumes")

    def test_short_names_of_images_are_completed(self):
        for short, whole in {
            "mongo:6": "docker.io/library/mongo:6", "apache/kafka:4": "docker.io/apache/kafka:4",
            "localhost/x:1": "localhost/x:1", "gcr.io/x/y:1": "gcr.io/x/y:1",
        }.items():
            self.assertEqual(images.full(short), whole)


if __name__ == "__main__":
    unittest.main()
