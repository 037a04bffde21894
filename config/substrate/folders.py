"""Make the folders of a home, and trust only those that are ours and closed to everyone else.

The socket folder stands in a place where others may write, so a folder of that name could be a trap laid by another
user: it is used only when it is a real folder, belongs to us, and has mode 0700. Each server's own folder inside
belongs to the account the server runs as.
"""

import os
import stat
from pathlib import Path

from config.substrate.errors import SubstrateError
from config.substrate.privileges import Account

PRIVATE = 0o700


def make_private(folder: Path, owner: int | None = None) -> None:
    """Create the folder for its owner alone, or refuse the one that is there."""
    folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    check_private(folder, owner)


def check_private(folder: Path, owner: int | None = None) -> None:
    """Refuse a folder that others own or can enter."""
    owner = os.geteuid() if owner is None else owner
    found = folder.lstat()
    mode = stat.S_IMODE(found.st_mode)
    if stat.S_ISDIR(found.st_mode) and found.st_uid == owner and mode == PRIVATE:
        return
    message = (
        f"{folder} is not safe to use: it must be a folder of user {owner} with mode 0700, and it is"
        f" {stat.filemode(found.st_mode)} of user {found.st_uid}. If you made it, remove it or `chmod 700` it;"
        " if you did not, somebody else did: set CELERIAC_SOCKETS to a folder that only you can write to."
    )
    raise SubstrateError(message)


def make_server_folder(folder: Path, account: Account) -> None:
    """Create a server's own folder and hand it to the server's account."""
    folder.mkdir(mode=PRIVATE, exist_ok=True)
    account.own(folder)
    check_private(folder, account.uid)
