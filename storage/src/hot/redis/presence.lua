-- One step on the sessions in a channel. Each speaks of a few hundred clients at most, so that no script takes long.
-- KEYS: info by client, owner ('node|user') by client, expiry by client, sessions by user, channels that the node noted
-- ARGV: what to do, then its arguments
local infos, owners, expiries, users, noted = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- The id of a node has no '|'; a user's may.
local function node_of(owner)
  return string.sub(owner, 1, string.find(owner, '|', 1, true) - 1)
end

local function count_down(owner)
  local user = string.sub(owner, string.find(owner, '|', 1, true) + 1)
  if redis.call('HINCRBY', users, user, -1) <= 0 then
    redis.call('HDEL', users, user)
  end
end

local function remove(client)
  local owner = redis.call('HGET', owners, client)
  if owner then
    count_down(owner)
    redis.call('HDEL', owners, client)
  end
  redis.call('HDEL', infos, client)
  redis.call('ZREM', expiries, client)
end

local expired = redis.call('ZRANGEBYSCORE', expiries, '-inf', now, 'LIMIT', 0, 250)
for _, client in ipairs(expired) do
  remove(client)
end

if ARGV[1] == 'add' then
  -- channel, ttl of what the node noted, ttl, then of each client: id, info, owner, user
  -- Noted first: what is noted too much is cleared away for nothing.
  redis.call('SADD', noted, ARGV[2])
  redis.call('PEXPIRE', noted, ARGV[3])
  local ttl = tonumber(ARGV[4])
  for index = 5, #ARGV, 4 do
    local client, owner = ARGV[index], ARGV[index + 2]
    local before = redis.call('HGET', owners, client)
    if before ~= owner then
      if before then count_down(before) end
      redis.call('HSET', owners, client, owner)
      redis.call('HINCRBY', users, ARGV[index + 3], 1)
    end
    redis.call('HSET', infos, client, ARGV[index + 1])
    redis.call('ZADD', expiries, now + ttl, client)
  end
  for index = 1, 4 do
    if redis.call('PTTL', KEYS[index]) < ttl then redis.call('PEXPIRE', KEYS[index], ttl) end
  end
elseif ARGV[1] == 'remove' then
  -- node, clients; only the node's own, as another may have taken a session over
  for index = 3, #ARGV do
    local owner = redis.call('HGET', owners, ARGV[index])
    if owner and node_of(owner) == ARGV[2] then remove(ARGV[index]) end
  end
elseif ARGV[1] == 'forget' then
  -- node, cursor; returns the next cursor, '0' at the end, and what was known of the sessions removed
  local page = redis.call('HSCAN', owners, ARGV[3], 'COUNT', 250)
  local gone = {}
  for index = 1, #page[2], 2 do
    if node_of(page[2][index + 1]) == ARGV[2] then
      local info = redis.call('HGET', infos, page[2][index])
      if info then table.insert(gone, info) end
      remove(page[2][index])
    end
  end
  return {page[1], gone}
elseif ARGV[1] == 'stats' then
  return {redis.call('ZCARD', expiries) - redis.call('ZCOUNT', expiries, '-inf', now), redis.call('HLEN', users)}
elseif ARGV[1] == 'list' then
  -- cursor; returns the next cursor, '0' at the end, and some clients with infos. The first page waits for the expired.
  if ARGV[2] == '0' and #expired == 250 then return {'expiring', {}} end
  return redis.call('HSCAN', infos, ARGV[2], 'COUNT', 500)
end
return {}
