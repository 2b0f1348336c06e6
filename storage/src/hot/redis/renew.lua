-- Begins another epoch of a channel's history, without publications. Offsets go on.
-- KEYS: meta, list
-- ARGV: epoch, meta ttl (ms)
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'epoch', ARGV[1])
  redis.call('HSETNX', KEYS[1], 'top', '0')
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return {}
