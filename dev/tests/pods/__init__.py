"""`dev/pods` (`make test-pods`): the manifests' base as real containers.

`plan` makes pods of the rendered manifests, which podman can run: a pure function; `images` builds stand-ins for Kafka's and
MongoDB's images of what `make services` fetches; `machine` runs pods with podman, in namespaces of its own; `scenario` is what
is done with them; `cli` reads the command line.
"""
