"""Renders the manifests in k8s/ and checks them: by Kubernetes' own schemas, by the program's source, and by each other.

    tools       kubectl and the schema checker, fetched once into .dev/
    render      kustomize, and where the overlays are
    objects     the pods in a list of objects, and what selects them
    source      what the Rust sources say: settings, ports, routes, metrics
    schemas     Kubernetes' JSON schemas, and small ones for what they lack
    references  names that have to lead somewhere: selectors, volumes, ConfigMaps, Secrets, accounts, targets
    addresses   hosts and ports in settings and arguments
    safety      what no pod may do or hold
    serving     ports and probes
    command_line  the arguments, asked of the real binary
    network     which pods may talk to which
    monitoring  metrics by name: dashboards, autoscalers

A check is a function from a list of objects to a list of findings, in words; only `command_line` starts anything.
"""
