"""Secrets that a home makes for itself: made once, readable by their owner alone, the same for every process."""

import os
import secrets
from pathlib import Path

from config.substrate import SubstrateError

BYTES = 48


def kept_secret(path: Path) -> str:
    """Return the secret kept in this file, made now if there is none."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        pass
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_once(path)
    except OSError as error:
        message = (
            f"No {path.name} is set, and none can be kept in {path}: {error}. Set {path.name.upper()}, or CELERIAC_HOME"
            " to a folder of your own."
        )
        raise SubstrateError(message) from error
    return path.read_text().strip()


def _write_once(path: Path) -> None:
    """Write a whole secret under a name of its own, then link it: of two writers, both use the first one's."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(BYTES) + "\n")
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
