-- Says that a node lives.
-- KEYS: last beat of each node
-- ARGV: node, ms after which a silent node is taken for dead, ms within which a node that beat is alive
-- Returns 1 if the node was known, some nodes that are silent, and some that are alive, the node itself among them.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('ZSCORE', KEYS[1], ARGV[1]) and 1 or 0
redis.call('ZADD', KEYS[1], now, ARGV[1])
local silent = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2], 'LIMIT', 0, 16)
return {known, silent, redis.call('ZRANGEBYSCORE', KEYS[1], now - ARGV[3], '+inf', 'LIMIT', 0, 256)}
