"""MongoDB: how to ask one whether it serves, and how to run one of our own (a replica set of one node)."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, Optional

from . import fetch, mongodb_wire
from .mongodb_wire import NOT_YET_INITIALIZED, CommandFailed, command
from .process import say
from .servers import FAILURES, FOUND_WITHIN, READY_WITHIN, Answer, Server, daemon, first
from .settings import MONGODB, MONGODB_PORT, Address, MongodbUri, Settings, show

REPLICA_SET = "rs0"


def server(settings: Settings) -> Server:
    uri = MongodbUri.parse(settings.mongodb_uri) if settings.mongodb_uri else None
    return Server(
        name="mongodb",
        title="MongoDB",
        setting=MONGODB,
        port_setting=MONGODB_PORT,
        port=settings.mongodb_port,
        named=settings.mongodb_uri,
        named_addresses=uri.addresses if uri else [],
        daemon=daemon("mongodb", "--dbpath", settings),
        ask=lambda addresses, seconds: ask(addresses, seconds, uri),
        ready=ready,
        prepare=lambda: _prepare(settings),
    )


def ask(addresses: List[Address], seconds: float, uri: Optional[MongodbUri] = None) -> Optional[Answer]:
    if uri and uri.needs_dns:
        return Answer(
            addresses[0], "", ["only a driver can look up a mongodb+srv address: it is taken as it is, unasked"]
        )
    tls = mongodb_wire.probe_tls(uri.certificate_file) if uri and uri.tls else None

    def both(address: Address, timeout: float) -> Any:
        hello = command(address, {"hello": 1}, timeout, tls)
        try:
            return hello, command(address, {"buildInfo": 1}, timeout, tls)
        except CommandFailed:
            return hello, {}  # some servers tell their version only to those who log in

    found = first(addresses, seconds, both)
    if found is None:
        return None
    address, (hello, build) = found
    return Answer(address, str(build.get("version", "")), warnings(address, hello))


def warnings(address: Address, hello: Dict[str, Any]) -> List[str]:
    if hello.get("msg") == "isdbgrid":  # a mongos stands before replica sets
        return []
    if not hello.get("setName"):
        return [
            f"the MongoDB at {show([address])} is not a replica set, which snapshot reads and majority writes need "
            "(one node will do: mongod --replSet, then rs.initiate())"
        ]
    if not hello.get("isWritablePrimary") and not hello.get("primary"):
        return [f"the replica set of the MongoDB at {show([address])} has no primary now: writes will wait"]
    return []


def ready(port: int) -> bool:
    """Whether it is primary; brings it a step nearer where it is not."""
    address = ("127.0.0.1", port)
    try:
        hello = command(address, {"hello": 1}, FOUND_WITHIN)
        if hello.get("isWritablePrimary"):
            return True
        if hello.get("isreplicaset"):  # meant for a set, and in none that it knows of
            _join(address)
    except FAILURES:
        pass  # a server that starts refuses for many reasons, and they pass
    return False


def _join(address: Address) -> None:
    member = show([address])
    try:
        config = command(address, {"replSetGetConfig": 1}, FOUND_WITHIN)["config"]
    except CommandFailed as refused:
        if refused.code != NOT_YET_INITIALIZED:
            raise
        # By number: clients that discover the set are sent to the address that the server is bound to.
        config = {"_id": REPLICA_SET, "members": [{"_id": 0, "host": member}]}
        command(address, {"replSetInitiate": config}, FOUND_WITHIN)
        return
    if config["members"][0]["host"] != member:
        # The data is from a run on another port, where the member had another address.
        config["members"][0]["host"] = member
        config["version"] += 1
        command(address, {"replSetReconfig": config, "force": True}, FOUND_WITHIN)


def _prepare(settings: Settings) -> Callable[[], Callable[[], None]]:
    binary = fetch.mongod(settings.root, settings.dev_dir)
    (settings.dev_dir / "data/mongodb").mkdir(parents=True, exist_ok=True)
    return lambda: _start(str(binary), settings)


def _start(binary: str, settings: Settings) -> Callable[[], None]:
    process = server(settings).daemon
    port = settings.mongodb_port
    say("mongodb", f"starting on 127.0.0.1:{port}, log {process.log}")
    started = time.monotonic()
    run = [
        binary,
        process.marker,
        f"--replSet={REPLICA_SET}",
        "--bind_ip=127.0.0.1",
        f"--port={port}",
        "--nounixsocket",
        "--quiet",
    ]
    # The stock sizes are half of the memory and a twentieth of the disk.
    child = process.start(run + ["--wiredTigerCacheSizeGB=1", "--oplogSize=1024"], port)

    def wait() -> None:
        process.wait_until_ready(lambda: ready(port), READY_WITHIN, child)
        say("mongodb", f"ready after {time.monotonic() - started:.1f} s, primary of the replica set {REPLICA_SET}")

    return wait
