"""What `dev/image` and `dev/pods` are made of.

`cli` reads the command line of `dev/image` and decides which program builds; `debian` makes root file systems of Debian's
packages; `store` runs buildah in a storage of its own under .dev/; `proof` starts what came out. `problem` is how any of
them says what is wrong. Standard library only.
"""
