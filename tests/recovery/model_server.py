"""A server that speaks the chat-completions API over a real socket, and misbehaves on order."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWER = {"action": "retry", "confidence": 0.8}


class ModelServer:
    """What it answers, how, and what it was asked."""

    def __init__(self):
        self.answer = ANSWER
        self.mood = ""
        self.usage = {"prompt_tokens": 200, "completion_tokens": 50, "total_tokens": 250}
        self.asked = []
        self.over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
        self._server.daemon_threads = True
        self._server.model = self
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self):
        """What CELERIAC["model_base_url"] is."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def close(self):
        """Go away."""
        self.over.set()
        self._server.shutdown()
        self._server.server_close()


class Api(BaseHTTPRequestHandler):
    """Answers as a model's server does, or not."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        """Answer one question."""
        model = self.server.model
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        model.asked.append(
            {
                "headers": {name.lower(): value for name, value in self.headers.items()},
                "path": self.path,
                "question": question,
            }
        )
        act = getattr(self, f"_{model.mood}", None) if model.mood else None
        if act is None:
            self._send(200, self._completion(json.dumps(model.answer)))
        else:
            act()

    def _completion(self, arguments):
        tool = self.server.model.asked[-1]["question"]["tools"][0]["function"]["name"]
        call = {"id": "1", "type": "function", "function": {"name": tool, "arguments": arguments}}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        return {
            "id": "1",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": "tests",
            "choices": [{"index": 0, "finish_reason": "tool_calls", "message": message}],
            "usage": self.server.model.usage,
        }

    def _send(self, status, document, **headers):
        body = json.dumps(document).encode()
        self.send_response_only(status)
        for name, value in ({"Content-Type": "application/json", "Content-Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _fails(self):
        self._send(500, {"error": {"message": "we saw your key k-hunter2"}})

    def _refuses(self):
        self._send(401, {"error": {"message": "bad key k-hunter2"}})

    def _babbles(self):
        self._send(200, self._completion("I would rather not say {"))

    def _is_wrong(self):
        self._send(200, self._completion(json.dumps({"action": 7})))

    def _is_nul(self):
        self._send(200, self._completion(json.dumps({"action": "a\0b", "confidence": 1})))

    def _is_long(self):
        self._send(200, self._completion(json.dumps({"action": "x" * 100_000, "confidence": 1})))

    def _floods(self):
        self._send(200, self._completion(json.dumps({"action": "x" * 5_000_000, "confidence": 1})))

    def _packs(self):
        self._send(200, self._completion("{}"), Content_Encoding="gzip")

    def _redirects(self):
        self._send(307, {}, Location=f"{self.server.model.url}/elsewhere")

    def _hangs(self):
        self.server.model.over.wait(20)
        self.close_connection = True

    def _trickles(self):
        self.send_response_only(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "100000")
        self.end_headers()
        while not self.server.model.over.wait(0.05):
            try:
                self.wfile.write(b" ")
            except OSError:
                break
        self.close_connection = True

    def _cuts(self):
        self.close_connection = True
        self.connection.close()

    def log_message(self, *args):
        """Say nothing."""
