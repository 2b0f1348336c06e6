-- Begins another epoch of a channel's history, without publications. Offsets go on.
-- KEYS: meta, list
-- ARGV: epoch, meta ttl (ms), offset before the first if there is no history or '' to fail then
-- Returns 'not begun' or ''.
local run, line = server()
local epoch, top = known(KEYS[1], run, line)
if epoch == ARGV[1] then return '' end
if not epoch then
  if ARGV[3] == '' then return 'not begun' end
  -- A history that another run wrote has another epoch by that alone, and may have had this one.
  if redis.call('DEL', KEYS[1], KEYS[2]) > 0 then return '' end
  top = ARGV[3]
end
begin(KEYS[1], KEYS[2], ARGV[1], top, run, line, ARGV[2])
return ''
