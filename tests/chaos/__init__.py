"""The gateway as real processes, under traffic, while processes, store, network, upstream and receivers fail.

Read in this order: `records` (the three logs), `oracle` (what must hold between them), `chaos`, `run`.
"""
