-- Gives a publication the channel's next offset and keeps it.
-- KEYS: meta, list, idempotency key, secret of derived epochs
-- ARGV: payload, size or '' for no history, ttl, meta ttl (ms), random text, idempotency ttl or '',
--       version (20 digits) or '', the version's epoch, offset before the first if there is no history or '' to fail then,
--       channel
-- Returns the outcome, offset, epoch.
if ARGV[6] ~= '' then
  local before = redis.call('GET', KEYS[3])
  if before then
    local offset, epoch = string.match(before, '^(%d+):(.*)$')
    return {'repeated', offset, epoch}
  end
end
local offset, epoch = '0', ''
if ARGV[2] ~= '' then
  local run, line = server()
  local top, is_stamped
  epoch, top, is_stamped = known(KEYS[1], run, line)
  if not epoch then
    if ARGV[9] == '' then return {'not begun', '0', ''} end
    epoch = ARGV[5]
    if ARGV[9] == '0' then epoch = derived_epoch(KEYS[4], ARGV[5], ARGV[10], ARGV[4], run, line) end
    begin(KEYS[1], KEYS[2], epoch, ARGV[9], run, line, ARGV[4])
  elseif not is_stamped then
    redis.call('HSET', KEYS[1], 'run', run, 'line', line)
  end
  if ARGV[7] ~= '' then
    local last = redis.call('HMGET', KEYS[1], 'version', 'version_epoch')
    if last[1] and last[2] == ARGV[8] and last[1] >= ARGV[7] then
      return {'outdated', top or ARGV[9], epoch}
    end
    redis.call('HSET', KEYS[1], 'version', ARGV[7], 'version_epoch', ARGV[8])
  end
  offset = string.format('%.0f', redis.call('HINCRBY', KEYS[1], 'top', 1))
  local now = now_ms()
  redis.call('RPUSH', KEYS[2], string.format('%.0f:', now + ARGV[3]) .. ARGV[1])
  redis.call('LTRIM', KEYS[2], -tonumber(ARGV[2]), -1)
  -- Few in one call, so that no script takes long.
  for _ = 1, 20 do
    if expiry(redis.call('LINDEX', KEYS[2], 0)) > now then break end
    redis.call('LPOP', KEYS[2])
  end
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
if ARGV[6] ~= '' then
  redis.call('SET', KEYS[3], offset .. ':' .. epoch, 'PX', ARGV[6])
end
return {'new', offset, epoch}
