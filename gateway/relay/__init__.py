"""The durable delayed relay: replies wait in Redis, leave at their moment, and are tried again until they arrive."""
