-- Says that users have sessions on a node, or have none there any more.
-- KEYS: users that the node noted, then the hash of each user
-- ARGV: node, 'online', 'offline' or 'forget' (the node died), ttl of a user, ttl of what the node noted (ms), then the id
--       of each user
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local place = 'node:' .. ARGV[1]
if ARGV[2] == 'online' then
  -- Noted first: what is noted too much is cleared away for nothing.
  redis.call('SADD', KEYS[1], unpack(ARGV, 5))
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end

-- Since when the user has had sessions on the nodes that are left; nothing if none is.
local function online_since(user)
  local since
  local fields = redis.call('HGETALL', user)
  for index = 1, #fields, 2 do
    if string.sub(fields[index], 1, 5) == 'node:' then
      local value = fields[index + 1]
      -- A node of an earlier version does not say since when.
      if value == '1' then value = now end
      if not since or tonumber(value) < tonumber(since) then since = value end
    end
  end
  return since
end

for index = 2, #KEYS do
  local user = KEYS[index]
  local is_changed = true
  if ARGV[2] == 'online' then
    redis.call('HSETNX', user, place, now)
  else
    is_changed = redis.call('HDEL', user, place) == 1 or ARGV[2] == 'offline'
  end
  if is_changed then
    redis.call('HSET', user, 'seen', now)
    local since = online_since(user)
    if since then redis.call('HSET', user, 'since', since) else redis.call('HDEL', user, 'since') end
    redis.call('PEXPIRE', user, ARGV[3])
  end
end
if ARGV[2] == 'forget' then redis.call('SREM', KEYS[1], unpack(ARGV, 5)) end
return {}
