"""A real Prometheus for a test, on a port of its own, with a history that is written before it starts."""

import http.server
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import httpx
import yaml

BINARY = shutil.which("prometheus")
WHY = "prometheus is not installed (Debian's package of this name has it)"


def free_port():
    """Return a port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class PrometheusServer:
    """One server and its data; it may be stopped and started again."""

    def __init__(self, folder: Path, scraped: str = "") -> None:
        """Keep its data in a folder, and scrape one address."""
        self.folder, self.port, self.process = folder, free_port(), None
        self.url = f"http://127.0.0.1:{self.port}"
        jobs = [{"job_name": "shop", "static_configs": [{"targets": [scraped]}]}] if scraped else []
        config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))

    def remember(self, samples):
        """Write a history: (name and labels, moment, value) each, as counters."""
        lines = ["# TYPE requests counter"]
        for name, at, value in sorted(samples):
            lines.append(f"{name} {value} {at.timestamp():.0f}")
        text = self.folder / "history.txt"
        text.write_text("\n".join([*lines, "# EOF"]) + "\n")
        command = [str(Path(BINARY).with_name("promtool")), "tsdb", "create-blocks-from", "openmetrics"]
        subprocess.run([*command, str(text), str(self.folder / "data")], check=True, capture_output=True, timeout=60)

    def start(self, eventually):
        """Start it, and wait until it answers."""
        flags = [
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--log.level=error",
        ]
        with (self.folder / "log").open("a") as said:
            self.process = subprocess.Popen([BINARY, *flags], stderr=said)
        eventually(self.is_ready, timeout=30)

    def is_ready(self):
        """Whether it answers."""
        try:
            return httpx.get(f"{self.url}/-/ready", timeout=1).status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self):
        """End it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None


class Exporter:
    """Something that Prometheus can scrape: counters over HTTP."""

    def __init__(self) -> None:
        """Serve at once."""
        counts = self.counts = {"200": 0, "500": 0}

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                lines = [f'requests_total{{code="{code}"}} {count}' for code, count in counts.items() if count]
                body = ("# TYPE requests_total counter\n" + "\n".join(lines) + "\n").encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *given: object) -> None:
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        """Serve no more."""
        self.server.shutdown()
        self.server.server_close()
