"""What `dev/spark` is made of.

`cli` reads the command line; `fetch` gets Spark through pip and the MongoDB connector through Maven. How a client is run
and how a folder becomes whole is that of `services_lib`. Standard library only.
"""
