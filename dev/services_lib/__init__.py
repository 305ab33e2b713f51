"""What `dev/services` is made of.

`cli` reads the command line; `servers` says where each server is to come from; `kafka` and `mongodb` know one server each: how
to ask it, with a driver that pip brings, and how to fetch and start it; `daemon` starts, finds, awaits and stops processes;
`compose` does it with Docker; `secured` is the second Kafka, for the tests of TLS, logins and ACLs; `settings` is the environment.
"""
