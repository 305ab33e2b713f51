"""`dev/test-kube` (`make test-kube`): every overlay against a real API server.

`build` gets etcd and compiles the servers of Kubernetes; `cluster` starts and stops them on the loopback; `cases` is what
is asked of them; `cli` reads the command line. Manifests are rendered by `manifests`, whose kubectl is used here.
"""
