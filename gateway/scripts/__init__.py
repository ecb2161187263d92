"""The store's transitions, one Lua script a file: each lists its KEYS, its ARGV and what it returns.

Every script is idempotent, since a lost reply makes the client send it again, and takes its time from Redis
(`TIME`), since the clocks of several processes differ. `offset` moves that time: zero but in tests. What several
share is in files whose names begin with `_`: a line `-- include NAME` puts one in.
"""
