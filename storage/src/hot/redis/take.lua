-- Takes one from a quota that fills evenly (the generic cell rate algorithm).
-- KEYS: when the quota is whole again (ms)
-- ARGV: limit, window (ms)
-- Returns 0, or after how many ms there is one again.
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local whole = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now) + ARGV[2] / ARGV[1]
local wait = whole - now - ARGV[2]
if wait > 0.001 then
  return math.ceil(wait)
end
redis.call('SET', KEYS[1], string.format('%.3f', whole), 'PX', math.ceil(whole - now))
return 0
