-- Gives a publication the channel's next offset and keeps it.
-- KEYS: meta, list, idempotency key
-- ARGV: payload, size or '' for no history, ttl, meta ttl (ms), epoch if there is none, idempotency ttl or '',
--       version (20 digits) or '', the version's epoch, offset before the first if there is none or '',
--       'archived' if the store has the history too
-- Returns what became of it, offset, epoch.
if ARGV[6] ~= '' then
  local known = redis.call('GET', KEYS[3])
  if known then
    local offset, epoch = string.match(known, '^(%d+):(.*)$')
    return {'repeated', offset, epoch}
  end
end
local offset, epoch = '0', ''
if ARGV[2] ~= '' then
  epoch = redis.call('HGET', KEYS[1], 'epoch')
  -- A server that was started anew may be back with what it knew a while ago.
  local run = ARGV[10] ~= '' and string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
  if run ~= '' and redis.call('HGET', KEYS[1], 'run') ~= run then epoch = false end
  if not epoch then
    if ARGV[9] == '' then return {'not begun', '0', ''} end
    epoch = ARGV[5]
    redis.call('DEL', KEYS[1], KEYS[2])
    redis.call('HSET', KEYS[1], 'epoch', epoch, 'top', ARGV[9], 'run', run)
  end
  if ARGV[7] ~= '' then
    local last = redis.call('HMGET', KEYS[1], 'version', 'version_epoch')
    if last[1] and last[2] == ARGV[8] and last[1] >= ARGV[7] then
      return {'outdated', redis.call('HGET', KEYS[1], 'top'), epoch}
    end
    redis.call('HSET', KEYS[1], 'version', ARGV[7], 'version_epoch', ARGV[8])
  end
  offset = string.format('%.0f', redis.call('HINCRBY', KEYS[1], 'top', 1))
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('RPUSH', KEYS[2], string.format('%.0f:', now + ARGV[3]) .. ARGV[1])
  redis.call('LTRIM', KEYS[2], -tonumber(ARGV[2]), -1)
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
if ARGV[6] ~= '' then
  redis.call('SET', KEYS[3], offset .. ':' .. epoch, 'PX', ARGV[6])
end
return {'new', offset, epoch}
