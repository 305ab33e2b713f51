"""What `dev/services` is made of.

`cli` reads the command line; `servers` says where each server is to come from; `kafka` and `mongodb` know one server
each (`kafka_wire`, `mongodb_wire`: its protocol, as far as asking takes); `fetch` gets them through Maven and pip;
`process` starts, finds, awaits and stops processes; `compose` does it with Docker; `settings` is the environment.
Standard library only.
"""
