-- Put before each script on histories.
-- The run of this server, and its line of replication. Another run is a server that was started anew, perhaps from an
-- older snapshot; another line is a replica that was promoted. Neither can be told from data, which goes back in time with
-- the server. Asking costs about 7 µs.
local function server()
  local info = redis.call('INFO', 'server', 'replication')
  return string.match(info, 'run_id:(%w+)') or '', string.match(info, 'master_replid:(%w+)') or ''
end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Epoch and top of a history that this server wrote itself; nothing if there is none. An entry of a version that did not
-- compare has no run or no line yet, until the next publication.
local function known(meta, run, line)
  local has = redis.call('HMGET', meta, 'epoch', 'top', 'run', 'line')
  if not has[1] then return end
  if has[3] and has[3] ~= '' and has[3] ~= run then return end
  if has[4] and has[4] ~= line then return end
  return has[1], has[2] or '0', has[3] == run and has[4] == line
end

-- The epoch of a history that has no entry, so that reading need not make one. Each channel has another one after its meta
-- ttl, as its entry may have been forgotten since.
local function derived_epoch(secret_key, new_secret, channel, meta_ttl, run, line)
  local secret = redis.call('GET', secret_key)
  if not secret then
    secret = new_secret
    redis.call('SET', secret_key, secret)
  end
  local share = tonumber(string.sub(redis.sha1hex(channel), 1, 8), 16) / 0x100000000
  local period = string.format('%.0f', math.floor(now_ms() / meta_ttl + share))
  return string.sub(redis.sha1hex(table.concat({secret, run, line, meta_ttl, period, channel}, ':')), 1, 16)
end

local function begin(meta, list, epoch, top, run, line, meta_ttl)
  redis.call('DEL', meta, list)
  redis.call('HSET', meta, 'epoch', epoch, 'top', top, 'run', run, 'line', line)
  redis.call('PEXPIRE', meta, meta_ttl)
end

local function expiry(entry)
  return tonumber(string.match(entry, '^(%d+):'))
end

