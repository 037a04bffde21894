"""The servers Celeriac stands on: a real PostgreSQL and a real Redis, embedded unless the environment names others.

`addresses()` says where they are and touches nothing; `ensure()` starts what is not running; `stop()` and `status()`
do what they say. The embedded ones live under CELERIAC_HOME and keep this promise: no open port, no reader but their
owner, durable settings, one instance however many processes ask at once, and never a signal to a process that merely
inherited a server's number.
"""

from config.substrate.addresses import Addresses, addresses
from config.substrate.errors import SubstrateError
from config.substrate.servers import Status, ensure, status, stop

__all__ = ["Addresses", "Status", "SubstrateError", "addresses", "ensure", "status", "stop"]
