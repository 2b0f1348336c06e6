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
  -- ttl, then of each client: id, info, owner, user
  for index = 3, #ARGV, 4 do
    local client = ARGV[index]
    local before = redis.call('HGET', owners, client)
    if before then count_down(before) end
    redis.call('HSET', infos, client, ARGV[index + 1])
    redis.call('HSET', owners, client, ARGV[index + 2])
    redis.call('ZADD', expiries, now + ARGV[2], client)
    redis.call('HINCRBY', users, ARGV[index + 3], 1)
  end
  for _, key in ipairs(KEYS) do
    if redis.call('PTTL', key) < tonumber(ARGV[2]) then redis.call('PEXPIRE', key, ARGV[2]) end
  end
elseif ARGV[1] == 'remove' then
  -- node, clients; only the node's own, as another may have taken a session over
  for index = 3, #ARGV do
    local owner = redis.call('HGET', owners, ARGV[index])
    if owner and string.match(owner, '^([^|]*)|') == ARGV[2] then remove(ARGV[index]) end
  end
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
