"""Every overlay in k8s/, rendered, against every check there is."""

import re
import unittest

import k8s_cases
from k8s_cases import MADE, ROOT, SECRETS, everything, need_binary, rendered

from manifests import monitoring, network, program, references, render, schemas, serving
from manifests.objects import find, pods

setUpModule = k8s_cases.need_tools


class Overlays(unittest.TestCase):
    maxDiff = None

    def clean(self, check, *others):
        for name, objects in everything():
            with self.subTest(name):
                self.assertEqual(check(objects, *others), [])

    def test_schemas(self):
        self.clean(schemas.check)

    def test_references(self):
        for check in (
            references.duplicates,
            references.namespaces,
            references.selectors,
            references.services,
            references.volumes,
            references.paths,
            references.accounts,
            references.targets,
            references.addresses,
        ):
            self.clean(check)

    def test_config_maps_and_secrets(self):
        self.clean(references.configuration, {**SECRETS, **MADE})

    def test_policy(self):
        self.clean(schemas.policy)

    def test_ports_and_probes(self):
        need_binary()
        for check in (serving.settings, serving.schemes, serving.ports, serving.probes, serving.grace, serving.scraping):
            self.clean(check)

    def test_network(self):
        need_binary()
        for check in (network.edges, network.policies, network.default_deny, network.names, network.visitors):
            self.clean(check)

    def test_metrics(self):
        need_binary()
        for check in (monitoring.dashboards, monitoring.autoscalers, monitoring.monitors):
            self.clean(check)

    def test_command_lines(self):
        need_binary()
        self.clean(serving.arguments, program.binary())


class Contents(unittest.TestCase):
    """What has to be there at all: a check over objects does not miss the ones that are gone."""

    PARTS = ["kafka", "mongodb", "mongodb-initiate", "inference", "consume-images", "consume-predictions"]
    PARTS += ["scheduler", "executor", "report"]

    def test_every_part_is_in_every_overlay(self):
        for name in render.overlays():
            with self.subTest(name):
                self.assertLessEqual(set(self.PARTS), {pod.component for pod in pods(rendered(name))})

    def test_inference_beside_the_consumers_is_no_deployment(self):
        for overlay in ("local", "keda"):
            objects = rendered(overlay, "inference-beside")
            self.assertEqual([item["kind"] for item in objects if item["metadata"]["name"] == "inference"], [])
            containers = find(objects, "Deployment", "consume-images")["spec"]["template"]["spec"]["containers"]
            self.assertEqual({container["name"] for container in containers}, {"consume-images", "inference"})

    def test_every_file_is_part_of_something(self):
        text = "\n".join(path.read_text() for path in (ROOT / "k8s").rglob("kustomization.yaml"))
        docs = (ROOT / "docs/kubernetes.md").read_text()
        for path in (ROOT / "k8s").rglob("*"):
            if path.is_file() and path.name != "kustomization.yaml":
                self.assertTrue(path.name in text or path.name in docs, f"{path} is part of nothing")

    COMPONENTS = {"ab-split", "cert-manager", "hpa", "inference-beside", "kafka-auth", "keda", "monitoring", "mongodb-auth", "shared-cache"}

    def test_the_overlays_of_the_readme_are_there(self):
        self.assertEqual(set(render.overlays()), {"local", "production", "keda", "gpu", "spark"})
        self.assertEqual(set(render.components()), self.COMPONENTS)

    def test_local_is_one_of_each(self):
        for pod in pods(rendered("local")):
            if pod.kind in ("Deployment", "StatefulSet"):
                self.assertEqual(pod.owner["spec"]["replicas"], 1, pod)

    def test_local_asks_for_no_more_than_the_docs_say(self):
        memory = cpu = 0
        units = {"Mi": 1, "Gi": 1024}
        for pod in pods(rendered("local")):
            for container in pod.spec["containers"]:
                asked = container["resources"]["requests"]
                memory += int(asked["memory"][:-2]) * units[asked["memory"][-2:]]
                cpu += int(asked["cpu"][:-1]) if asked["cpu"].endswith("m") else 1000 * int(asked["cpu"])
        said = re.search(r"(\d+) GiB of memory and (\d+) processors for `local`", (ROOT / "docs/kubernetes.md").read_text())
        self.assertLess(memory, int(said[1]) * 1024)
        self.assertLess(cpu, int(said[2]) * 1000)

    def test_production_survives_the_loss_of_a_machine(self):
        objects = rendered("production")
        for name in ("kafka", "mongodb"):
            owner = find(objects, "StatefulSet", name)
            self.assertEqual(owner["spec"]["replicas"], 3)
            rules = owner["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            self.assertEqual([rule["topologyKey"] for rule in rules], ["kubernetes.io/hostname"])
            self.assertEqual(find(objects, "PodDisruptionBudget", name)["spec"]["maxUnavailable"], 1)
        for name in ("inference", "consume-images", "consume-predictions", "executor"):
            self.assertTrue(find(objects, "PodDisruptionBudget", name), name)
            self.assertTrue(find(objects, "HorizontalPodAutoscaler", name), name)
        kafka = find(objects, "StatefulSet", "kafka")["spec"]["template"]["spec"]["containers"][0]
        settings = {variable["name"]: variable.get("value") for variable in kafka["env"]}
        voters = settings["KAFKA_CONTROLLER_QUORUM_VOTERS"].split(",")
        self.assertEqual(voters, [f"{n}@kafka-{n}.kafka-nodes:9093" for n in range(3)])
        self.assertEqual((settings["KAFKA_DEFAULT_REPLICATION_FACTOR"], settings["KAFKA_MIN_INSYNC_REPLICAS"]), ("3", "2"))

    def taken(self, pod):
        """(Secret, key) of whatever a pod takes out of Secrets."""
        return {(what, key) for kind, what, keys in references._configured(pod) for key in keys if kind == "Secret"}

    def example(self, file, section):
        """The first kustomization, or part of one, in a section of the docs; what it fetches is of this tree."""
        text = (ROOT / "docs" / file).read_text().partition(f"\n## {section}\n")[2]
        found = re.search(r"```yaml\n(.*?)```", text, re.S)[1]
        return re.sub(r"github\.com/YOUR/firesteel/(\S+)\?ref=v[\d.]+", r"\1", found)

    def test_the_overlay_of_the_docs_is_whole(self):
        text = self.example("kubernetes.md", "Production")
        objects = render.written(text, "the overlay of docs/kubernetes.md")
        for check in (references.namespaces, references.duplicates, references.volumes, references.addresses):
            self.assertEqual(check(objects), [])
        self.assertEqual({item["metadata"]["namespace"] for item in objects if item["kind"] == "Certificate"}, {"firesteel"})
        images = {one["image"] for pod in pods(objects) for one in pod.containers()}
        self.assertEqual({image for image in images if "firesteel" in image}, {"registry.example.com/firesteel:0.1.0"})
        for name in ("kafka", "mongodb"):
            [claim] = find(objects, "StatefulSet", name)["spec"]["volumeClaimTemplates"]
            self.assertEqual(claim["spec"]["storageClassName"], "YOUR-CLASS")

    def test_who_may_insert_is_as_the_docs_say(self):
        text = "resources: [k8s/overlays/production]\n" + self.example("operations.md", "Users in MongoDB")
        for pod in pods(render.written(text, "the patch of docs/operations.md")):
            uris = {key for what, key in self.taken(pod) if what == "mongodb" and key.startswith("uri-")}
            writes = {"uri-writer"} if pod.component in ("consume-predictions", "scheduler", "executor") else set()
            self.assertEqual(uris, writes, pod)

    def test_in_mongodb_everybody_has_the_rights_of_their_part(self):
        for overlay in ("production", "keda"):
            for pod in pods(rendered(overlay)):
                keys = {key for what, key in self.taken(pod) if what == "mongodb"}
                root = {"username", "password", "keyfile"}
                expected = {
                    "mongodb": root, "mongodb-initiate": {"username", "password", "writer-password", "reader-password"},
                    "consume-predictions": {"uri-writer"}, "scheduler": {"uri-reader"}, "executor": {"uri-reader"},
                }.get(pod.component, set())
                self.assertEqual(keys, expected, f"{pod} of {overlay}")

    def test_mongod_runs_no_scripts_and_does_not_know_zlib(self):
        for name, objects in everything():
            for pod in pods(objects):
                if pod.component == "mongodb":
                    arguments = pod.spec["containers"][0]["args"]
                    for wanted in ("--noscripting", "--networkMessageCompressors=snappy,zstd"):
                        self.assertIn(wanted, arguments, name)
                    self.assertIn("--setParameter=minSnapshotHistoryWindowInSeconds=3600", arguments)

    def test_kafka_in_production_knows_everybody_and_allows_nothing_unasked(self):
        for overlay in ("production", "keda"):
            objects = rendered(overlay)
            [kafka] = [pod for pod in pods(objects) if pod.component == "kafka"]
            settings = {one["name"]: one.get("value") for one in kafka.spec["containers"][0]["env"]}
            self.assertEqual(settings["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"], "CLIENTS:SASL_SSL,NODES:SSL,CONTROLLER:SSL")
            self.assertEqual(settings["KAFKA_ALLOW_EVERYONE_IF_NO_ACL_FOUND"], "false")
            self.assertTrue(settings["KAFKA_AUTHORIZER_CLASS_NAME"].endswith(".StandardAuthorizer"))
            # The image asks for files of passwords where a listener is called so.
            self.assertNotRegex(settings["KAFKA_ADVERTISED_LISTENERS"], "SSL://|SASL")
            script = next(item for item in objects if item["kind"] == "ConfigMap" and "access.sh" in item["data"])["data"]["access.sh"]
            for pod in pods(objects):
                users = {key for what, key in self.taken(pod) if what == "kafka"}
                expected = {
                    "consume-images": {"consume-images"}, "consume-predictions": {"consume-predictions"},
                    "scheduler": {"sql"}, "executor": {"sql"},
                }.get(pod.component, set())
                self.assertEqual(users, expected, f"{pod} of {overlay}")
                for user in users:
                    self.assertIn(f"\nuser {user}\n", script)

    def test_the_rights_of_the_manifests_are_those_that_the_tests_run_with(self):
        from services_lib.secured import RIGHTS

        script = (ROOT / "k8s/components/kafka-auth/scripts/access.sh").read_text()
        script = script.replace("$own", re.search(r"own='(.*)'", script)[1])
        self.assertEqual(set(re.findall(r"^user (\S+)$", script, re.M)), set(RIGHTS))
        for user, rights in RIGHTS.items():
            granted = set()
            for line in (line for line in script.splitlines() if line.startswith(f"may {user} ")):
                operation = re.search(r"--operation (\w+)", line)[1].upper()
                found = re.findall(r"--(topic|group|transactional-id) (\S+)", line)
                granted |= {(operation, kind.upper().replace("-", "_"), what) for kind, what in found}
                # There as here, the beginning of a name ends in `-`.
                for _, what in found:
                    self.assertEqual(what.endswith("-"), "--resource-pattern-type prefixed" in line, line)
            self.assertEqual(granted, {(operation.replace("_", ""), kind, name) for operation, kind, name in rights}, user)

    def test_what_watches_reaches_no_sql(self):
        for name, objects in everything():
            for policy, subjects, peers, ports in network.rules(objects, "ingress"):
                if any("namespaceSelector" in peer for peer in peers):
                    reached = {(pod.component, port["port"]) for pod in subjects for port in ports}
                    self.assertFalse(reached & {("scheduler", 50050), ("executor", 50051), ("executor", 50052)}, name)

    def test_secrets_that_are_missing_are_made_by_an_account_that_can_do_nothing_else(self):
        for name in render.overlays():
            objects = rendered(name)
            self.assertEqual(find(objects, "Role", "credentials")["rules"], [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}])
            job = find(objects, "Job", "credentials")["spec"]["template"]["spec"]["containers"][0]
            self.assertEqual(job["args"], ["make-credentials", "--kubernetes", "--authority", "--access"])
            for pod in pods(objects):
                # The key of the authority is for the container that signs.
                main = [mount["name"] for one in pod.spec["containers"] for mount in one.get("volumeMounts", [])]
                self.assertNotIn("authority", main, f"{pod} of {name}")
        args = find(rendered("local", "cert-manager"), "Job", "credentials")["spec"]["template"]["spec"]["containers"][0]["args"]
        self.assertEqual(args, ["make-credentials", "--kubernetes", "--access"])

    def test_nothing_is_fetched_when_a_job_of_spark_starts(self):
        for pod in pods(rendered("spark")):
            words = " ".join(word for one in pod.containers() for word in [*one.get("command", []), *one.get("args", [])])
            self.assertNotRegex(words, "--packages|--repositories|spark.jars.ivy", pod)

    def test_gpu_asks_for_gpus(self):
        for pod in pods(rendered("gpu")):
            limits = pod.spec["containers"][0]["resources"]["limits"]
            computes = pod.component in ("inference", "executor")
            self.assertEqual("nvidia.com/gpu" in limits, computes, pod)
            self.assertEqual("--device=cuda" in pod.spec["containers"][0].get("args", []), computes, pod)

    def test_keda_goes_to_zero(self):
        objects = rendered("keda")
        for name in ("inference", "consume-images", "consume-predictions", "executor"):
            self.assertEqual(find(objects, "ScaledObject", name)["spec"]["minReplicaCount"], 0)
        config_map = next(item for item in objects if item["kind"] == "ConfigMap" and "FIRESTEEL_SCHEDULER" in item["data"])
        # Or nobody could ask for the first executor.
        self.assertEqual(config_map["data"]["FIRESTEEL_SCHEDULER_MIN_READY_EXECUTORS"], "0")

    def test_versions_are_those_of_compose(self):
        compose = (ROOT / "compose.yaml").read_text()
        images = set(re.findall(r"image: (\S+)", compose))
        self.assertEqual(images, {"apache/kafka:4.4.0", "mongo:8.0.29"})
        for name, objects in everything():
            for pod in pods(objects):
                for container in pod.containers():
                    if container["image"].startswith(("apache/kafka:", "mongo:")):
                        self.assertIn(container["image"], images, f"{pod} of {name}")

    def test_our_image_has_the_version_of_the_workspace(self):
        version = re.search(r'^version = "([^"]+)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]
        found = {}
        for name, objects in everything():
            for pod in pods(objects):
                # Certificates are made by the usual one, which is small.
                signing = [c["image"] for c in pod.spec.get("initContainers", []) if c["name"] == "certificate"]
                self.assertLessEqual(set(signing), {f"firesteel:{version}"}, f"{pod} of {name}")
                ours = [c["image"] for c in pod.spec["containers"] if "firesteel" in c["image"]]
                # With CUDA it does not start where there is no GPU.
                computes = name == "gpu" and pod.component in ("inference", "executor")
                expected = f"firesteel-cuda:{version}" if computes else f"firesteel:{version}"
                self.assertEqual(set(ours), {expected} if ours else set(), f"{pod} of {name}")
                found[name] = found.get(name, 0) + len(ours)
        for name in render.overlays():
            self.assertGreater(found[name], 5, name)

    def test_the_docs_tell_how_to_make_each_secret(self):
        text = (ROOT / "docs/kubernetes.md").read_text()
        for name, secret in SECRETS.items():
            self.assertIn(f"create secret generic {name}", text)
            for key in secret["keys"]:
                self.assertRegex(text, rf"--from-(?:file|literal)={key}=")
            for overlay in secret["overlays"]:
                self.assertIn(overlay, render.overlays())


if __name__ == "__main__":
    unittest.main()
