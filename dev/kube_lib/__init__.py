"""What `dev/test-kube` is made of.

`build` gets etcd and compiles the servers of Kubernetes; `cluster` starts and stops them on the loopback; `cases` is what
is asked of them; `cli` reads the command line and counts. Manifests are rendered by `k8s_lib`, whose kubectl is used here.
"""
