"""What `dev/pods` is made of.

`plan` makes pods of the rendered manifests, which podman can run: a pure function; `images` builds stand-ins for Kafka's and
MongoDB's images of what `make services` fetches; `machine` runs pods with podman, in namespaces of its own; `story` is what
is done with them; `cli` reads the command line.
"""
