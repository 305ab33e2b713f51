"""What `dev/peers` is made of.

`cli` reads the command line; `fetch` makes the virtual environments. How a client is run and how a folder becomes whole is
that of `services_lib`. Standard library only.
"""
