"""etcd, the API server and the controllers, on free ports of the loopback, with keys and data in a folder that goes away.

There is no kubelet: objects are taken, checked and counted, controllers make pods of them, and no pod ever runs.
"""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Callable, Dict, List, Optional

from image_lib.problem import Problem, run
from image_lib.proof import free_port

READY_WITHIN = 120.0
# Those whose work shows without a kubelet. All of them would wait for nodes, clouds and certificates that are not there.
CONTROLLERS = [
    "cronjob-controller", "deployment-controller", "disruption-controller", "endpointslice-controller",
    "garbage-collector-controller", "horizontal-pod-autoscaler-controller", "job-controller", "namespace-controller",
    "persistentvolumeclaim-protection-controller", "replicaset-controller", "serviceaccount-controller",
    "statefulset-controller", "ttl-after-finished-controller",
]


class Cluster:
    """`with Cluster(...) as cluster:` and whatever happens inside, nothing of it is left running."""

    def __init__(self, folder: Path, servers: Path, etcd: Path, kubectl: Path):
        self.folder, self.servers, self.etcd, self.program = folder, servers, etcd, kubectl
        self.children: Dict[str, "subprocess.Popen[bytes]"] = {}
        self.token = secrets.token_urlsafe(24)
        self.kubeconfig = folder / "kubeconfig"

    def __enter__(self) -> "Cluster":
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, mode=0o700)
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in reversed(list(self.children)):
            child = self.children.pop(name)
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        for name in ("etcd", "certificates"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for name in ("tokens.csv", "service-accounts.key", "kubeconfig"):
            with suppress(FileNotFoundError):
                (self.folder / name).unlink()

    def _start(self) -> None:
        client, peer, port = free_port(), free_port(), free_port()
        key, tokens, certificates = (self.folder / name for name in ("service-accounts.key", "tokens.csv", "certificates"))
        run(["openssl", "genrsa", "-out", str(key), "2048"], "a key for service accounts cannot be made (is openssl there?)")
        tokens.write_text(f"{self.token},tester,tester,system:masters\n")
        for path in (key, tokens):
            path.chmod(0o600)

        here = f"http://127.0.0.1:{client}"
        self._run(
            "etcd",
            [str(self.etcd), "--data-dir", str(self.folder / "etcd"), "--listen-client-urls", here]
            + ["--advertise-client-urls", here, "--listen-peer-urls", f"http://127.0.0.1:{peer}"]
            + ["--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}", "--unsafe-no-fsync"]
            + ["--initial-cluster", f"default=http://127.0.0.1:{peer}"],
        )
        self._until("etcd", lambda: b"true" in _get(f"{here}/health"))

        self._run(
            "kube-apiserver",
            [str(self.servers / "kube-apiserver"), "--etcd-servers", here, "--bind-address", "127.0.0.1"]
            + ["--secure-port", str(port), "--cert-dir", str(certificates), "--token-auth-file", str(tokens)]
            + ["--authorization-mode", "Node,RBAC", "--service-cluster-ip-range", "10.96.0.0/16"]
            + ["--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", str(key)]
            + ["--service-account-signing-key-file", str(key), "--endpoint-reconciler-type", "none"]
            + ["--advertise-address", "127.0.0.1"],
        )
        url = f"https://127.0.0.1:{port}"
        self._until("kube-apiserver", lambda: self._serves(url, certificates / "apiserver.crt"))
        self.kubeconfig.write_text(_kubeconfig(url, certificates / "apiserver.crt", self.token))
        self.kubeconfig.chmod(0o600)

        self._run(
            "kube-controller-manager",
            [str(self.servers / "kube-controller-manager"), "--kubeconfig", str(self.kubeconfig), "--leader-elect=false"]
            + ["--bind-address", "127.0.0.1", "--secure-port", "0", "--service-account-private-key-file", str(key)]
            + ["--controllers", ",".join(CONTROLLERS), "--horizontal-pod-autoscaler-sync-period", "1s"],
        )

    def _serves(self, url: str, certificate: Path) -> bool:
        context = ssl.create_default_context(cafile=str(certificate))
        request = urllib.request.Request(f"{url}/readyz", headers={"Authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(request, timeout=5, context=context) as answer:
            return answer.read() == b"ok"

    def _run(self, name: str, command: List[str]) -> None:
        with open(self.folder / f"{name}.log", "wb") as log:
            # A group of its own: Ctrl-C comes here first, and these are stopped in their order.
            self.children[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def _until(self, name: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            self.alive(name)
            with suppress(OSError, urllib.error.URLError):
                if ready():
                    return
            time.sleep(0.1)
        raise Problem(f"{name} does not serve after {READY_WITHIN:.0f} s; its log ends with:\n{self.tail(name)}")

    def alive(self, name: str) -> None:
        code = self.children[name].poll()
        if code is not None:
            raise Problem(f"{name} ended with {code}; its log, {self.folder / name}.log, ends with:\n{self.tail(name)}")

    def tail(self, name: str, lines: int = 8) -> str:
        words = (self.folder / f"{name}.log").read_text(errors="replace").splitlines()
        return "\n".join(line[:400] for line in words[-lines:])

    def kubectl(self, *arguments: str, stdin: Optional[str] = None, fails: bool = False) -> str:
        """Its output; where `fails`, the error that it has to end with."""
        for name in self.children:
            self.alive(name)
        done = subprocess.run(
            [str(self.program), "--kubeconfig", str(self.kubeconfig), "--cache-dir", str(self.folder / "cache"), *arguments],
            input=stdin or "", capture_output=True, text=True, timeout=300,
        )
        what = f"kubectl {' '.join(arguments)}"
        if fails:
            if done.returncode == 0:
                raise Problem(f"{what} went through, and was to be refused")
            return done.stderr
        if done.returncode:
            raise Problem(f"{what}: {done.stderr.strip()[:600]}")
        return done.stdout

    def get(self, *arguments: str) -> List[Dict]:
        found = json.loads(self.kubectl("get", *arguments, "--output", "json"))
        return found["items"] if found["kind"].endswith("List") else [found]


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read()


def _kubeconfig(url: str, certificate: Path, token: str) -> str:
    return json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": str(certificate)}}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    })
