"""A second Kafka for tests, as production has it: TLS, SCRAM-SHA-512, and ACLs without which nobody may do anything.

`dev/services secured` starts it, once, and leaves in .dev/secured/ what a client needs: `bootstrap`, `ca.pem`, and for each
user `NAME.properties`, lines for FIRESTEEL_KAFKA_PROPERTIES. Its certificate and all passwords are made anew at each start, and
nobody but this user can read them; none is an argument of a program. `dev/services down` stops it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from pathlib import Path
from typing import Dict, List, Tuple

from shared_lib.program import ROOT, dev_dir, free_port, run, say

from . import kafka
from .daemon import Daemon
from .servers import READY_WITHIN, check_platform, drivers

NAME = "kafka-secured"
TEMPLATE = ROOT / "dev/kafka/secured.properties.template"
TOPICS = ("images", "images.dead-letter", "predictions", "predictions.dead-letter")
# The topics of the marks of replayed letters: a replay makes them.
MARKS = ("images.dead-letter.replayed", "predictions.dead-letter.replayed")
# What each user may do: (operation, kind of resource, name), line by line as k8s/components/kafka-auth/scripts/access.sh has it. The
# topics are there already, so the rights to make them go unused. A name that ends in `-` is a beginning.
RIGHTS: Dict[str, List[Tuple[str, str, str]]] = {
    "producer": [
        ("WRITE", "TOPIC", "images"),
        *((operation, "TOPIC", "images.producers") for operation in ("CREATE", "READ", "WRITE")),
        ("READ", "GROUP", "firesteel-producers"),
    ],
    "consume-images": [
        *(("CREATE", "TOPIC", topic) for topic in TOPICS),
        ("READ", "TOPIC", "images"),
        ("DESCRIBE_CONFIGS", "TOPIC", "images"),
        ("WRITE", "TOPIC", "images.dead-letter"),
        ("WRITE", "TOPIC", "predictions"),
        ("READ", "GROUP", "firesteel-images"),
    ],
    "consume-predictions": [
        *(("CREATE", "TOPIC", topic) for topic in TOPICS),
        ("READ", "TOPIC", "predictions"),
        ("DESCRIBE_CONFIGS", "TOPIC", "predictions"),
        ("WRITE", "TOPIC", "predictions.dead-letter"),
        ("READ", "GROUP", "firesteel-predictions"),
    ],
    "sql": [*(("READ", "TOPIC", topic) for topic in TOPICS), ("READ", "GROUP", "firesteel-scan-")],
    "dead-letters": [
        *(("READ", "TOPIC", topic) for topic in (*TOPICS, *MARKS)),
        *(("CREATE", "TOPIC", topic) for topic in MARKS),
        *(("WRITE", "TOPIC", topic) for topic in ("images", "predictions", *MARKS)),
        ("READ", "GROUP", "firesteel-dead-letters"),
        ("WRITE", "TRANSACTIONAL_ID", "firesteel-replay-"),
    ],
    "keda": [
        ("DESCRIBE", "TOPIC", "images"),
        ("DESCRIBE", "TOPIC", "predictions"),
        ("DESCRIBE", "GROUP", "firesteel-images"),
        ("DESCRIBE", "GROUP", "firesteel-predictions"),
    ],
}


def folder() -> Path:
    return dev_dir() / "secured"


def daemon() -> Daemon:
    return Daemon(NAME, "-Dfiresteel.dev.data")


def up() -> None:
    """Starts it where it does not run, and makes users, topics and ACLs."""
    found = daemon().running()
    if found and (folder() / "bootstrap").is_file():
        say(NAME, f"is running on localhost:{found.port} (pid {found.pid})")
        return
    check_platform()
    started = time.monotonic()
    down()
    drivers()
    java = kafka.java_command()
    home, data = folder(), dev_dir() / "data" / NAME
    for old in (home, data):
        shutil.rmtree(old, ignore_errors=True)
    home.mkdir(parents=True)
    home.chmod(0o700)
    data.mkdir(parents=True)
    (dev_dir() / "logs").mkdir(exist_ok=True)
    certificate(java[0], home)
    passwords = {name: secrets.token_urlsafe(24) for name in ("admin", *RIGHTS)}
    port = free_port()
    properties = configured(home, data, port)
    # A file of arguments: on a command line everybody would read them.
    logins = private(home / "logins", "".join(
        f"--add-scram\nSCRAM-SHA-512=[name={name},password={password}]\n" for name, password in passwords.items()
    ))
    kafka.storage(java, properties, data, dev_dir() / f"logs/{NAME}-format.log", f"@{logins}")
    logins.unlink()
    for name, password in passwords.items():
        private(home / f"{name}.properties", client(home, name, password))
    server = daemon()
    say(NAME, f"starting on localhost:{port}, log {server.log}")
    child = server.start([*java, *kafka.HEAP, *kafka.FRUGAL, server.marker, "kafka.Kafka", str(properties)], port)
    server.wait_until_ready(lambda: ready(home, port, passwords["admin"]), READY_WITHIN, child)
    # Last: whoever finds this finds all of it.
    (home / "bootstrap").write_text(f"localhost:{port}")
    say(NAME, f"ready after {time.monotonic() - started:.1f} s, with users {', '.join(RIGHTS)}; their logins are in {home}")


def down() -> None:
    (folder() / "bootstrap").unlink(missing_ok=True)
    if daemon().stop() is not None:
        say(NAME, "stopped")


def configured(home: Path, data: Path, port: int) -> Path:
    text = TEMPLATE.read_text()
    password = (home / "store-password").read_text()
    for name, value in (
        ("@PORT@", port), ("@NODE_PORT@", free_port()), ("@CONTROLLER_PORT@", free_port()),
        ("@DATA@", data), ("@FOLDER@", home), ("@STORE_PASSWORD@", password),
    ):
        text = text.replace(name, str(value))
    return private(home / "server.properties", text)


def client(home: Path, name: str, password: str) -> str:
    return (
        f"security.protocol=SASL_SSL\nssl.ca.location={home / 'ca.pem'}\n"
        f"sasl.mechanism=SCRAM-SHA-512\nsasl.username={name}\nsasl.password={password}\n"
    )


def private(path: Path, text: str) -> Path:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    return path


def certificate(java: str, home: Path) -> None:
    """A certificate for this machine, signed by its own key, by the keytool that comes with Java."""
    keytool = str(Path(java).resolve().with_name("keytool"))
    if not os.path.exists(keytool):
        keytool = shutil.which("keytool") or keytool
    password = private(home / "store-password", secrets.token_hex(16))
    store = ["-keystore", str(home / "node.p12"), "-storetype", "PKCS12", "-storepass:file", str(password), "-alias", "node"]
    made = ["-dname", "CN=firesteel-node", "-ext", "san=dns:localhost,ip:127.0.0.1", "-validity", "30"]
    run([keytool, "-genkeypair", "-keyalg", "EC", "-groupname", "secp256r1", *made, *store], "keytool cannot make a certificate")
    pem = run([keytool, "-exportcert", "-rfc", *store], "keytool cannot give the certificate")
    (home / "ca.pem").write_text(pem)
    (home / "node.p12").chmod(0o600)


def ready(home: Path, port: int, password: str) -> bool:
    """Whether it serves; makes what is missing then."""
    from kafka.admin import KafkaAdminClient
    from kafka.errors import KafkaError

    try:
        admin = KafkaAdminClient(
            bootstrap_servers=f"localhost:{port}", security_protocol="SASL_SSL", sasl_mechanism="SCRAM-SHA-512",
            sasl_plain_username="admin", sasl_plain_password=password, ssl_cafile=str(home / "ca.pem"),
            bootstrap_timeout_ms=5000, request_timeout_ms=10000,
        )
    except (KafkaError, OSError):
        return False
    try:
        return furnish(admin)
    except (KafkaError, OSError):
        return False  # a broker that starts fails in many ways, and they pass
    finally:
        admin.close()


def furnish(admin: object) -> bool:
    """Makes topics and ACLs, and says whether the broker goes by all of them: it learns of them a moment after it was told."""
    from kafka.admin import (
        ACL, ACLFilter, ACLOperation, ACLPermissionType, ACLResourcePatternType, NewTopic, ResourcePattern, ResourcePatternFilter,
        ResourceType,
    )
    from kafka.errors import TopicAlreadyExistsError

    try:
        admin.create_topics([NewTopic(name=name, num_partitions=4, replication_factor=1) for name in TOPICS])
    except TopicAlreadyExistsError:
        pass
    wanted = [
        ACL(
            principal=f"User:{user}", host="*", operation=ACLOperation[operation], permission_type=ACLPermissionType.ALLOW,
            resource_pattern=ResourcePattern(
                ResourceType[kind], name,
                ACLResourcePatternType.PREFIXED if name.endswith("-") else ACLResourcePatternType.LITERAL,
            ),
        )
        for user, rights in RIGHTS.items()
        for operation, kind, name in rights
    ]
    admin.create_acls(wanted)
    everything = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY)
    known, error = admin.describe_acls(ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ANY, everything))
    if error is not None and error.errno:
        raise error
    return len(known) >= len(wanted)
