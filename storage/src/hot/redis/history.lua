-- Reads a part of a channel's history. Writes nothing, so that it works in a full Redis too, unless the store knows where
-- the history goes on.
-- KEYS: meta, list, secret of derived epochs
-- ARGV: since or '', limit or '', 'reverse' or '', meta ttl (ms), random text, offset before the first if there is no
--       history or '' to fail then, channel
-- Returns top, epoch, the first entry's offset, and the entries in the order kept.
local run, line = server()
local epoch, top = known(KEYS[1], run, line)
if not epoch then
  if ARGV[6] == '' then return {'0', '', '0', {}} end
  if ARGV[6] == '0' then
    return {'0', derived_epoch(KEYS[3], ARGV[5], ARGV[7], ARGV[4], run, line), '0', {}}
  end
  epoch, top = ARGV[5], ARGV[6]
  begin(KEYS[1], KEYS[2], epoch, top, run, line, ARGV[4])
end
local limit = ARGV[2] ~= '' and tonumber(ARGV[2])
if limit == 0 then
  return {top, epoch, '0', {}}
end
local now, length = now_ms(), redis.call('LLEN', KEYS[2])
-- Offsets have no gap, so an entry's place tells its offset.
local first = tonumber(top) - length + 1
-- The oldest come first, so the place of the first that has not expired is found by halves.
local from, past = 0, length
while from < past do
  local middle = math.floor((from + past) / 2)
  if expiry(redis.call('LINDEX', KEYS[2], middle)) > now then past = middle else from = middle + 1 end
end
local to = length - 1
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
