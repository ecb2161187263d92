"""The one door to Redis: scripts and commands with bounds, on one server, a sentinels' master or a cluster.

Read `client.Store` first; `server.Server` is how one server is spoken to, `cluster.Cluster` how it is found among many.

What a Redis of one's own should be told (7.0 or newer; the embedded one is):

    maxmemory-policy noeviction          else replies on their way are evicted; there is a warning at start
    appendonly yes                       with appendfsync always, or everysec and the loss of a second
    hash-max-listpack-value 1024         a turn whose reply is awaited takes half: 0.5 KB instead of 0.9
    cluster-require-full-coverage no     in a cluster: the shards of other servers go on when one is lost

While a cluster's slot is on the move key by key, its conversations wait, and answer 503 when that takes longer than a
call may; other slots feel nothing. What a master has acknowledged and loses in a failover is lost.
"""

from gateway.store.client import Store, connect
from gateway.store.scripts import Answer, Argument, Call, NoAnswer, Script, script
from gateway.store.server import CALL_SECONDS

__all__ = ["CALL_SECONDS", "Answer", "Argument", "Call", "NoAnswer", "Script", "Store", "connect", "script"]
