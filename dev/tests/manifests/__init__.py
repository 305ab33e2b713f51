"""Renders the manifests in k8s/ and checks them: by Kubernetes' own schemas, by the program, and by each other.

    render      kubectl and the schema checker, fetched once into .dev/; kustomize, and where the overlays are
    objects     the pods in a list of objects, and what selects them
    program     what `firesteel describe` says of the binary: settings, ports, routes, metrics
    schemas     Kubernetes' JSON schemas, the definitions in dev/kube/crds, and the rules of policy.yaml
    references  names that have to lead somewhere: selectors, volumes, paths, ConfigMaps, Secrets, accounts, targets, addresses
    serving     settings, arguments, schemes, ports and probes, against the binary
    network     which pods may talk to which: network.yaml
    monitoring  metrics by name: dashboards, autoscalers

A check is a function from a list of objects to a list of findings, in words.
"""
