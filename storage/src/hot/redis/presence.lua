-- One step on who is in a channel; what has expired goes first.
-- KEYS: info by client, owner ('node|user') by client, expiry by client, sessions by user
-- ARGV: what to do, then its arguments
local infos, owners, expiries, users = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function count_down(owner)
  local user = string.match(owner, '^[^|]*|(.*)$')
  if redis.call('HINCRBY', users, user, -1) <= 0 then
    redis.call('HDEL', users, user)
  end
end

local function remove(client)
  local owner = redis.call('HGET', owners, client)
  if owner then
    count_down(owner)
    redis.call('HDEL', infos, client)
    redis.call('HDEL', owners, client)
  end
  redis.call('ZREM', expiries, client)
end

for _, client in ipairs(redis.call('ZRANGEBYSCORE', expiries, '-inf', now)) do
  remove(client)
end

if ARGV[1] == 'add' then
  -- client, info, owner, user, ttl
  local before = redis.call('HGET', owners, ARGV[2])
  if before then count_down(before) end
  redis.call('HSET', infos, ARGV[2], ARGV[3])
  redis.call('HSET', owners, ARGV[2], ARGV[4])
  redis.call('ZADD', expiries, now + ARGV[6], ARGV[2])
  redis.call('HINCRBY', users, ARGV[5], 1)
  for _, key in ipairs(KEYS) do
    if redis.call('PTTL', key) < tonumber(ARGV[6]) then redis.call('PEXPIRE', key, ARGV[6]) end
  end
elseif ARGV[1] == 'remove' then
  -- client; only the node's own, as another may have taken the session over
  local owner = redis.call('HGET', owners, ARGV[2])
  if owner and string.match(owner, '^([^|]*)|') == ARGV[3] then remove(ARGV[2]) end
elseif ARGV[1] == 'forget' then
  -- node; returns what was known of its sessions
  local gone = {}
  local all = redis.call('HGETALL', owners)
  for index = 1, #all, 2 do
    if string.match(all[index + 1], '^([^|]*)|') == ARGV[2] then
      table.insert(gone, redis.call('HGET', infos, all[index]))
      remove(all[index])
    end
  end
  return gone
elseif ARGV[1] == 'stats' then
  return {redis.call('HLEN', infos), redis.call('HLEN', users)}
elseif ARGV[1] == 'list' then
  return redis.call('HGETALL', infos)
end
return {}
