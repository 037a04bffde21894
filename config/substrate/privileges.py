"""Run the servers as root asks for, yet not as root.

PostgreSQL refuses to run as root, and a fresh clone under /root cannot be reached by anyone else. Opening the parent
folders to all, as other wrappers do, exposes the user's files; copying binaries and data elsewhere scatters what
should stand under one home. So a server started by root runs under an unprivileged user that owns nothing but the
servers' own folders, and holds one ambient capability: to read and search past folder permissions
(CAP_DAC_READ_SEARCH, or CAP_DAC_OVERRIDE where a container withholds the former). The secure bit `no_setuid_fixup`
is needed because `access(2)`, which PostgreSQL asks about its own binaries, forgets capabilities without it. All
other capabilities leave the bounding set, and `no_new_privs` is set. Anyone but root starts the servers as themselves.
"""

import os
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path

from config.substrate.errors import SubstrateError

UNPRIVILEGED_USERS = ("nobody", "postgres", "daemon")
CAPABILITIES = {"dac_read_search": 2, "dac_override": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The user that the servers run as, and the command prefix that makes it so."""

    uid: int
    gid: int
    prefix: tuple[str, ...] = ()

    def own(self, path: Path) -> None:
        """Hand a folder or file to this account."""
        if path.stat().st_uid != self.uid:
            os.chown(path, self.uid, self.gid)


def server_account(data: Path) -> Account:
    """Return the account that owns, or shall own, the data folder."""
    if os.geteuid() != 0:
        return Account(uid=os.geteuid(), gid=os.getegid())
    user = _owner_of(data) or _unprivileged_user()
    return Account(uid=user.pw_uid, gid=user.pw_gid, prefix=_drop_to(user))


def current_user() -> str:
    """Return the name of the user who connects, as peer authentication sees it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        message = (
            f"User id {os.geteuid()} has no name in the password database, which PostgreSQL's peer authentication"
            " needs. Add an entry for it, or set DATABASE_URL and REDIS_URL to servers of your own."
        )
        raise SubstrateError(message) from None


def _owner_of(data: Path) -> pwd.struct_passwd | None:
    try:
        owner = data.stat().st_uid
        return pwd.getpwuid(owner) if owner else None
    except (FileNotFoundError, KeyError):
        return None


def _unprivileged_user() -> pwd.struct_passwd:
    for name in UNPRIVILEGED_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    message = (
        f"PostgreSQL does not run as root, and none of the users {', '.join(UNPRIVILEGED_USERS)} exists."
        " Create one of them, run as an ordinary user, or set DATABASE_URL and REDIS_URL."
    )
    raise SubstrateError(message)


def _drop_to(user: pwd.struct_passwd) -> tuple[str, ...]:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        message = (
            "PostgreSQL does not run as root, and `setpriv` (package util-linux), which would start it as"
            f" {user.pw_name}, is not on the PATH. Install it, run as an ordinary user, or set DATABASE_URL"
            " and REDIS_URL."
        )
        raise SubstrateError(message)
    keep = f"-all,+{_capability()}"
    return (
        setpriv,
        f"--reuid={user.pw_uid}",
        f"--regid={user.pw_gid}",
        "--clear-groups",
        f"--inh-caps={keep}",
        f"--ambient-caps={keep}",
        f"--bounding-set={keep}",
        "--securebits=+no_setuid_fixup",
        "--no-new-privs",
    )


def _capability() -> str:
    effective = _effective_capabilities()
    for name, bit in CAPABILITIES.items():
        if effective >> bit & 1:
            return name
    message = (
        "Root here holds neither CAP_DAC_READ_SEARCH nor CAP_DAC_OVERRIDE, so no other user can be given access to the"
        " server binaries. Run as an ordinary user, or set DATABASE_URL and REDIS_URL."
    )
    raise SubstrateError(message)


def _effective_capabilities() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))
