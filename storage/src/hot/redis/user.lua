-- Says that a user has sessions on a node, or has none there any more.
-- KEYS: the user's hash
-- ARGV: node, 'online', 'offline' or 'forget' (the node died), ttl (ms)
local user = KEYS[1]
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local place = 'node:' .. ARGV[1]
if ARGV[2] == 'online' then
  redis.call('HSET', user, place, '1', 'seen', now)
  redis.call('HSETNX', user, 'since', now)
elseif redis.call('HDEL', user, place) == 1 or ARGV[2] == 'offline' then
  redis.call('HSET', user, 'seen', now)
  local elsewhere = false
  for _, field in ipairs(redis.call('HKEYS', user)) do
    elsewhere = elsewhere or string.sub(field, 1, 5) == 'node:'
  end
  if not elsewhere then redis.call('HDEL', user, 'since') end
end
redis.call('PEXPIRE', user, ARGV[3])
return {}
