"""The one door to Redis: scripts and commands with bounds, on one server, a sentinels' master or a cluster.

Read `client.Store` first; `server.Server` is how one server is spoken to, `cluster.Cluster` how it is found among many.
"""

from gateway.store.client import Store, connect
from gateway.store.scripts import Answer, Argument, Call, NoAnswer, Script, script
from gateway.store.server import CALL_SECONDS

__all__ = ["CALL_SECONDS", "Answer", "Argument", "Call", "NoAnswer", "Script", "Store", "connect", "script"]
