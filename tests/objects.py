"""An object store with access control, in a process of its own, and a proxy in front of it that can fail.

The store is moto's server, which answers as S3 does, checks signatures and policies, and keeps objects in memory.
"""

import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self
from uuid import uuid4

import boto3
import pytest

from mds_client.cold import files
from mds_client.cold.places import place

BUCKET: Final = "market-data"
REGION: Final = "eu-central-1"
HOP_BY_HOP: Final = {"connection", "transfer-encoding", "keep-alive"}


@dataclass(frozen=True)
class User:
    """A user of the object store."""

    key: str
    secret: str = field(repr=False)


class ObjectStore:
    """A bucket, its users, and the way there through a proxy; `trouble` says how the proxy fails."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "4"},
        )
        assert self._server.stderr is not None
        said = ""
        while (found := re.search(r"Running on http://127\.0\.0\.1:(\d+)", said)) is None:
            line = self._server.stderr.readline()
            if not line:
                raise RuntimeError(f"moto's server does not start: {said}")
            said += line
        self._reader = threading.Thread(target=self._server.stderr.read, daemon=True)
        self._reader.start()
        self.port = int(found[1])
        self._proxy = _Proxy(("127.0.0.1", 0), _Handler)
        self._proxy.target = self.port
        threading.Thread(target=self._proxy.serve_forever, args=(0.05,), daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self._proxy.server_port}"
        # The four actions that nobody has to sign make the first user, who may do everything, and the bucket.
        self._clients: dict[tuple[str, User], Any] = {}
        self._admin = User("nobody", "nothing")
        self._admin = self.user("*", "*")
        self._client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._proxy.shutdown()
        self._proxy.server_close()
        self._server.terminate()
        self._server.wait()
        self._reader.join()
        assert self._server.stderr is not None
        self._server.stderr.close()

    def user(self, actions: str, resource: str) -> User:
        """Make a user who may do this with these objects."""
        iam, name = self._client("iam"), uuid4().hex
        statement = {"Effect": "Allow", "Action": actions, "Resource": resource}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=policy)
        made = iam.create_access_key(UserName=name)["AccessKey"]
        return User(made["AccessKeyId"], made["SecretAccessKey"])

    def operator(self) -> User:
        """Make a user who may do everything with objects."""
        return self.user("s3:*", "*")

    def reader(self, prefix: str) -> User:
        """Make a user who may read the objects below a prefix, and nothing else."""
        return self.user("s3:GetObject", f"arn:aws:s3:::{BUCKET}/{prefix}/*")

    def keys(self, prefix: str) -> list[str]:
        """Return the names of all objects below a prefix, as the store itself has them."""
        found = self._client("s3").list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return [one["Key"].removeprefix(prefix) for one in found.get("Contents", [])]

    def put(self, key: str, content: bytes) -> None:
        """Store an object, past the proxy."""
        self._client("s3").put_object(Bucket=BUCKET, Key=key, Body=content)

    def _client(self, service: str) -> Any:
        if (made := self._clients.get((service, self._admin))) is None:
            made = self._clients[service, self._admin] = self._made(service)
        return made

    def _made(self, service: str) -> Any:
        return boto3.client(
            service, endpoint_url=f"http://127.0.0.1:{self.port}", region_name=REGION,
            aws_access_key_id=self._admin.key, aws_secret_access_key=self._admin.secret,
        )  # fmt: skip

    @contextmanager
    def trouble(self, kind: str) -> Iterator[None]:
        """The proxy fails in the block.

        `away` ends connections, `503` answers that, `silent` never answers, `slow` takes its time, and `lost answers`
        passes on what is written but ends the connection before the answer.
        """
        self._proxy.trouble = kind
        try:
            yield
        finally:
            self._proxy.trouble = ""
            self._proxy.healed.set()
            self._proxy.healed = threading.Event()

    @contextmanager
    def acting_as(self, user: User, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """In the block the environment has the credentials of a user."""
        with monkeypatch.context() as patched:
            for name, value in self.environment(user).items():
                patched.setenv(name, value)
            _forget()
            try:
                yield
            finally:
                _forget()

    def environment(self, user: User) -> dict[str, str]:
        """Return the settings of a user."""
        return {
            "AWS_ACCESS_KEY_ID": user.key,
            "AWS_SECRET_ACCESS_KEY": user.secret,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
        }

    def pyiceberg(self) -> dict[str, str]:
        """Return what PyIceberg has to be told beside the environment."""
        return {"s3.endpoint": self.endpoint, "s3.region": REGION}


def _forget() -> None:
    place.cache_clear()
    files.metadata.cache_clear()


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True
    target = 0
    trouble = ""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.healed = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients end connections whenever they like."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Proxy

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def _pass(self) -> None:
        trouble = self.server.trouble
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if trouble == "503":
            self._answer(503, {}, b"<Error><Code>SlowDown</Code></Error>")
            return
        if trouble == "silent":
            self.server.healed.wait()
        if trouble in {"away", "silent"}:
            self.close_connection = True
            return
        if trouble == "slow":
            time.sleep(0.05)
        behind = http.client.HTTPConnection("127.0.0.1", self.server.target)
        try:
            behind.request(self.command, self.path, body, dict(self.headers))
            answer = behind.getresponse()
            content = answer.read()
        finally:
            behind.close()
        if trouble == "lost answers" and self.command == "PUT":
            self.close_connection = True
            return
        self._answer(answer.status, dict(answer.getheaders()), content)

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in HOP_BY_HOP | {"content-length"}:
                self.send_header(name, value)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass  # noqa: N815 - the server calls methods by these names
