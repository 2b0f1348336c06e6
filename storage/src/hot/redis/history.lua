-- Reads a part of a channel's history.
-- KEYS: meta, list
-- ARGV: since or '', limit or '', 'reverse' or '', meta ttl (ms), epoch if there is none, offset before the first then
--       or '', 'archived' if the store has the history too
-- Returns top, epoch, the first entry's offset, and the entries in the order kept.
local epoch = redis.call('HGET', KEYS[1], 'epoch')
-- A server that was started anew may be back with what it knew a while ago.
local run = ARGV[7] ~= '' and string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
if run ~= '' and redis.call('HGET', KEYS[1], 'run') ~= run then epoch = false end
if not epoch then
  if ARGV[6] == '' then return {'0', '', '0', {}} end
  epoch = ARGV[5]
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'top', ARGV[6], 'run', run)
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
local top = redis.call('HGET', KEYS[1], 'top')
local limit = ARGV[2] ~= '' and tonumber(ARGV[2])
if limit == 0 then
  return {top, epoch, '0', {}}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
while true do
  local oldest = redis.call('LINDEX', KEYS[2], 0)
  if not oldest or tonumber(string.match(oldest, '^(%d+):')) > now then break end
  redis.call('LPOP', KEYS[2])
end
local length = redis.call('LLEN', KEYS[2])
-- Offsets have no gap, so an entry's place tells its offset.
local first = tonumber(top) - length + 1
local from, to = 0, length - 1
if ARGV[3] == 'reverse' then
  if ARGV[1] ~= '' then to = math.min(to, tonumber(ARGV[1]) - 1 - first) end
  if limit then from = math.max(from, to - limit + 1) end
else
  if ARGV[1] ~= '' then from = math.max(from, tonumber(ARGV[1]) + 1 - first) end
  if limit then to = math.min(to, from + limit - 1) end
end
if from > to then
  return {top, epoch, '0', {}}
end
return {top, epoch, string.format('%.0f', first + from), redis.call('LRANGE', KEYS[2], from, to)}
