"""A server of the S3 kind, and a wire to it that breaks on order: a proxy between the real client and moto's server."""

from __future__ import annotations

import contextlib
import http.client
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "exports"
KEY = "good-key"
_HOP = {"connection", "transfer-encoding", "content-length", "expect"}


class ObjectStore:
    """A bucket behind a wire; `faults` are used up one a request of that method."""

    def __init__(self):
        self._moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._moto.start()
        self.behind = self._moto.get_host_and_port()
        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        self._forget_others()
        self.faults = []
        self.refused_keys = set()
        self.requests = []
        self._wire = ThreadingHTTPServer(("127.0.0.1", 0), Wire)
        self._wire.store = self
        self._wire.daemon_threads = True
        self.hanging = threading.Event()
        self._thread = threading.Thread(target=self._wire.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        self.direct = boto3.client(
            "s3",
            endpoint_url="http://{}:{}".format(*self.behind),
            region_name="auto",
            aws_access_key_id=KEY,
            aws_secret_access_key="secret",
        )
        self.make_bucket()

    def _forget_others(self):
        """Empty what moto remembers for its whole process."""
        with contextlib.closing(http.client.HTTPConnection(*self.behind, timeout=10)) as asked:
            asked.request("POST", "/moto-api/reset")
            assert asked.getresponse().status == 200

    @property
    def url(self):
        """Where the wire begins."""
        return "http://{}:{}".format(*self._wire.server_address[:2])

    def make_bucket(self):
        """Make the bucket."""
        self.direct.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "auto"})

    def names(self):
        """Return the names of all objects."""
        found = self.direct.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return sorted(one["Key"] for one in found)

    def read(self, name):
        """Return an object's bytes."""
        return self.direct.get_object(Bucket=BUCKET, Key=name)["Body"].read()

    def break_next(self, *faults, method="PUT"):
        """Let the next requests of a method break, one after the other; None lets one pass."""
        self.faults += [(method, fault) for fault in faults]

    def count(self, method):
        """Return how many requests of a method came."""
        return sum(1 for one, _ in self.requests if one == method)

    def close(self):
        """End both servers."""
        self.hanging.set()
        self._wire.shutdown()
        self._wire.server_close()
        self._moto.stop()
        self.direct.close()

    def next_fault(self, method):
        """Take the fault of this request."""
        for number, (wanted, fault) in enumerate(self.faults):
            if wanted == method:
                del self.faults[number]
                return fault
        return None


class Wire(BaseHTTPRequestHandler):
    """Passes requests on, as far as the store's faults let it."""

    protocol_version = "HTTP/1.1"

    def _pass_on(self):
        length = int(self.headers.get("Content-Length") or 0)
        fault = self.server.store.next_fault(self.command)
        self.server.store.requests.append((self.command, self.path))
        if fault == "cut":
            self.rfile.read(length // 2)
            self.close_connection = True
            self.connection.close()
            return
        body = self.rfile.read(length)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        if any(f"Credential={key}/" in headers.get("Authorization", "") for key in self.server.store.refused_keys):
            self._answer(403, b"<Error><Code>InvalidAccessKeyId</Code><Message>no</Message></Error>")
        elif fault == "500":
            self._answer(500, b"<Error><Code>InternalError</Code><Message>try again</Message></Error>")
        elif fault == "hang":
            self.server.store.hanging.wait(30)
            self.close_connection = True
        else:
            self._forward(fault, headers, body)

    def _forward(self, fault, headers, body):
        if fault in ("truncate", "flip"):
            headers.pop("Content-MD5", None)
            body = body[: len(body) // 2] if fault == "truncate" else body[:-1] + bytes([body[-1] ^ 1])
        far = http.client.HTTPConnection(*self.server.store.behind, timeout=10)
        with contextlib.closing(far):
            far.request(self.command, self.path, body or None, headers | {"Content-Length": str(len(body))})
            answer = far.getresponse()
            content = answer.read()
            if fault == "lose the answer":
                self.close_connection = True
                self.connection.close()
                return
            if fault == "cut the answer":
                content = content[: len(content) // 2]
            self._answer(answer.status, content, answer)

    def _answer(self, status, content, answer=None):
        self.send_response_only(status)
        told = dict(answer.getheaders()) if answer else {"Content-Type": "application/xml"}
        for name, value in told.items():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        length = told.get("content-length") or told.get("Content-Length")
        self.send_header("Content-Length", length if answer and length else str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        if answer and length and self.command != "HEAD" and int(length) != len(content):
            self.close_connection = True

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _pass_on  # noqa: N815 - the class's own names

    def log_message(self, *args):
        """Say nothing."""
