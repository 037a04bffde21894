"""The peers' own Python environment, `.venv-peers`: made on demand from `peers.lock`, every package checked by hash.

It is made anew when the lock file changes. To move to newer versions, edit `peers.in` and run
`uv pip compile benchmarks/peers.in --universal --python-version 3.11 --generate-hashes --no-emit-index-url
--no-emit-find-links --no-header --no-annotate --upgrade -o benchmarks/peers.lock`.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "benchmarks" / "peers.lock"
FOLDER = ROOT / ".venv-peers"


def ensure() -> Path:
    """Return the Python of the peers' environment, made first if it is missing or older than its lock file."""
    python = FOLDER / "bin" / "python"
    stamp = FOLDER / ".lock-digest"
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return python
    print(f"making {FOLDER.name} from {LOCK.relative_to(ROOT)}", file=sys.stderr)
    _make(python)
    stamp.write_text(digest)
    return python


def _make(python: Path) -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(FOLDER)], check=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", str(LOCK)]
    subprocess.run([str(python), *install], check=True)
