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
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Callable, Dict, List, Optional

from shared_lib.program import Problem, free_port, run, tail, until

# Those whose work shows without a kubelet. All of them would wait for nodes, clouds and certificates that are not there.
CONTROLLERS = [
    "cronjob-controller", "deployment-controller", "disruption-controller", "endpointslice-controller",
    "garbage-collector-controller", "horizontal-pod-autoscaler-controller", "job-controller", "namespace-controller",
    "persistentvolumeclaim-protection-controller", "replicaset-controller", "serviceaccount-controller",
    "statefulset-controller", "ttl-after-finished-controller",
]  # fmt: skip


class Cluster:
    """`with Cluster(...) as cluster:` and whatever happens inside, nothing of it is left running."""

    def __init__(self, folder: Path, servers: Path, etcd: str, kubectl: str):
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
        for path in [path for path in self.folder.iterdir() if path.suffix != ".log"]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _private(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.touch(0o600)
        path.write_text(text)
        return path

    def _start(self) -> None:
        client, peer, port = free_port(), free_port(), free_port()
        key, certificate = self._private("service-accounts.key", ""), self.folder / "certificates/apiserver.crt"
        run(["openssl", "genrsa", "-out", str(key), "2048"], "a key for service accounts cannot be made (is openssl there?)")
        tokens = self._private("tokens.csv", f"{self.token},tester,tester,system:masters\n")
        here, peers, url = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}", f"https://127.0.0.1:{port}"
        self.url = url
        self._run(
            self.etcd,
            [f"--data-dir={self.folder / 'etcd'}", f"--listen-client-urls={here}", f"--advertise-client-urls={here}"]
            + [f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}", f"--initial-cluster=default={peers}"]
            + ["--unsafe-no-fsync"],
            lambda: b"true" in urllib.request.urlopen(f"{here}/health", timeout=5).read(),
        )
        self._run(
            str(self.servers / "kube-apiserver"),
            [f"--etcd-servers={here}", "--bind-address=127.0.0.1", f"--secure-port={port}", f"--cert-dir={certificate.parent}"]
            + [f"--token-auth-file={tokens}", "--authorization-mode=Node,RBAC", "--service-cluster-ip-range=10.96.0.0/16"]
            + ["--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={key}"]
            + [f"--service-account-signing-key-file={key}", "--endpoint-reconciler-type=none", "--advertise-address=127.0.0.1"],
            lambda: self._serves(url, certificate),
        )
        self._private("kubeconfig", json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": str(certificate)}}],
            "users": [{"name": "test", "user": {"token": self.token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }))  # fmt: skip
        self._run(
            str(self.servers / "kube-controller-manager"),
            [f"--kubeconfig={self.kubeconfig}", "--leader-elect=false", "--bind-address=127.0.0.1", "--secure-port=0"]
            + [f"--service-account-private-key-file={key}", f"--controllers={','.join(CONTROLLERS)}"]
            + ["--horizontal-pod-autoscaler-sync-period=1s"],
        )

    def _serves(self, url: str, certificate: Path) -> bool:
        context = ssl.create_default_context(cafile=str(certificate))
        request = urllib.request.Request(f"{url}/readyz", headers={"Authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(request, timeout=5, context=context) as answer:
            return answer.read() == b"ok"

    def _run(self, program: str, options: List[str], ready: Callable[[], bool] = lambda: True) -> None:
        name = Path(program).name
        with open(self.folder / f"{name}.log", "wb") as log:
            # A group of its own: Ctrl-C comes here first, and these are stopped in their order.
            self.children[name] = subprocess.Popen(
                [program, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

        def serves() -> bool:
            self.alive(name)
            with suppress(OSError):
                return ready()
            return False

        until(serves, 120, lambda: f"{name} does not serve; its log ends with:\n{tail(self.folder / f'{name}.log')}")

    def alive(self, name: str) -> None:
        code, log = self.children[name].poll(), self.folder / f"{name}.log"
        if code is not None:
            raise Problem(f"{name} ended with {code}; its log, {log}, ends with:\n{tail(log)}")

    def kubectl(self, *arguments: str, stdin: Optional[str] = None, fails: bool = False, streams: bool = False) -> str:
        """Its output; where `fails`, the error that it has to end with; where `streams`, both."""
        for name in self.children:
            self.alive(name)
        done = subprocess.run(
            [self.program, "--kubeconfig", str(self.kubeconfig), "--cache-dir", str(self.folder / "cache"), *arguments],
            input=stdin or "", capture_output=True, text=True, timeout=300,
        )
        what = f"kubectl {' '.join(arguments)}"
        if fails and done.returncode == 0:
            raise Problem(f"{what} went through, and was to be refused")
        if done.returncode and not fails:
            raise Problem(f"{what}: {done.stderr.strip()[:600]}")
        if streams:
            return f"{done.stdout} {done.stderr}"
        return done.stderr if fails else done.stdout

    def get(self, *arguments: str) -> List[Dict]:
        found = json.loads(self.kubectl("get", *arguments, "--output", "json"))
        return found["items"] if found["kind"].endswith("List") else [found]
