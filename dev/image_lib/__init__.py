"""What `dev/image` is made of, and some of `dev/pods` and `dev/test-kube`.

`cli` reads the command line and decides which program builds; `debian` makes root file systems of Debian's packages; `store`
runs buildah in a storage of its own under .dev/; `verify` starts what came out. Standard library only.
"""
