"""A Vault that speaks the HTTP API of tokens, AppRole and the KV engine, version 2, over a real socket."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ROLE, SECRET = "the-role", "the-secret-id"


class VaultServer:
    """What it holds, what it has been asked, and whether it answers."""

    def __init__(self):
        self.secrets = {}
        self.tokens = {}
        self.token_seconds = 3600
        self.is_renewable = True
        self.status = None
        self.asked = []
        self._port = 0
        self._server = None
        self.start()

    @property
    def url(self):
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    def start(self):
        """Listen, again at the same place."""
        ThreadingHTTPServer.allow_reuse_address = True
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Api)
        self._server.vault = self
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self):
        """Go away."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def put(self, path, **secret):
        """Store a secret."""
        self.secrets[path] = secret

    def issue(self, name):
        """Let a token be valid."""
        self.tokens[name] = True
        return name

    def count(self, path):
        """Return how often something was asked."""
        return sum(1 for one in self.asked if one.endswith(path))


class Api(BaseHTTPRequestHandler):
    """Answers as Vault does."""

    protocol_version = "HTTP/1.1"

    def _answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.close_connection = True
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status, error):
        self._answer(status, {"errors": [error]})

    def _handle(self):
        given = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        self.server.vault.asked.append(self.path)
        token = self.headers.get("X-Vault-Token", "")
        if self.server.vault.status:
            self._refuse(self.server.vault.status, "trouble with hunter2")
        elif self.path == "/v1/auth/approle/login":
            self._log_in(given)
        elif not self.server.vault.tokens.get(token):
            self._refuse(403, "permission denied")
        elif self.path == "/v1/auth/token/renew-self":
            self._answer(200, {"auth": self._auth(token)})
        elif self.path == "/v1/auth/token/lookup-self":
            self._answer(
                200, {"data": {"ttl": self.server.vault.token_seconds, "renewable": self.server.vault.is_renewable}}
            )
        else:
            self._read()

    def _log_in(self, given):
        if (given.get("role_id"), given.get("secret_id")) != (ROLE, SECRET):
            self._refuse(400, "invalid role or secret ID")
            return
        self._answer(200, {"auth": self._auth(self.server.vault.issue(f"token-{len(self.server.vault.tokens)}"))})

    def _auth(self, token):
        return {
            "client_token": token,
            "lease_duration": self.server.vault.token_seconds,
            "renewable": self.server.vault.is_renewable,
        }

    def _read(self):
        mount, _, path = self.path.removeprefix("/v1/").partition("/data/")
        secret = self.server.vault.secrets.get(f"{mount}/{path}")
        if secret is None:
            self._refuse(404, "")
            return
        self._answer(200, {"lease_duration": 0, "data": {"data": secret, "metadata": {"version": 1}}})

    do_GET = do_POST = do_PUT = _handle  # noqa: N815 - the class's own names

    def log_message(self, *args):
        """Say nothing."""
