#!lua flags=no-writes
-- Read some fields of a dead letter.
--
-- KEYS  1 reply
-- ARGV  1 offset ms  2.. field names
-- Returns their values, nil for one that is not there.
return redis.call('HMGET', KEYS[1], unpack(ARGV, 2))
