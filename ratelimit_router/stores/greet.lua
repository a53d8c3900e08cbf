-- Whether this is the store that it was: the first act on every connection.
--
-- ARGV[1]: now, only in tests. ARGV[2]: the generation that the asker knows ('': none). ARGV[3]: a new one, in case.
-- ARGV[4]: the id of this run of the server. ARGV[5]: how long it has been up, at the least. ARGV[6]: whether a restart
-- loses nothing. ARGV[7]: whether the server can have been a replica. ARGV[8]: whether missing state means that nothing
-- was spent.
-- Returns the generation, and what was found: 'known', 'begun', 'lost' or 'takeover'.

local SCHEMA, NEVER, SECOND, LEARNING = 1, 9007199254740991, 1000000, 1500000
local GENERATION, BEGUN, LOSS, INFORMED, RUN, HOLD, LATEST = 2, 3, 4, 5, 6, 7, 8

local known, up, full = ARGV[2], tonumber(ARGV[5]), ARGV[8] == '1'
local packed = redis.call('GET', KEYS[1])
local right, store = pcall(cmsgpack.unpack, packed or '')
if packed and (not right or type(store) ~= 'table' or type(store[1]) ~= 'number' or #store ~= 9) then
  return redis.error_reply('FOREIGN this is not ours')
end
if packed and store[1] ~= SCHEMA then
  return redis.error_reply('SCHEMA ' .. store[1])
end
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * SECOND + time[2]
end
local earliest, latest = now - up - SECOND, math.min(now - up + SECOND, now) -- when the server was started
local found = 'known'

local function lose()
  -- what was booked of it may still be used by those who have not heard of the loss yet
  store[BEGUN], store[LOSS], store[INFORMED], found = now + LEARNING, 1, 1, 'lost'
end

if not packed then
  store = { SCHEMA, ARGV[3], 0, 0, 0, ARGV[4], 0, now, NEVER }
  if full then
    found = 'begun'
  elseif known ~= '' then
    lose()
  else
    store[BEGUN], found = math.max(latest, 1), 'begun'
  end
else
  now = math.max(now, store[LATEST])
  if not full then
    local trusted = ARGV[6] == '1'
    if known ~= '' and known ~= store[GENERATION] and store[INFORMED] == 0 then
      lose() -- whoever began this did not know that there had been another
    elseif ARGV[4] ~= store[RUN] and not (trusted and ARGV[7] == '0') then
      if latest > store[LATEST] and not trusted then
        lose() -- a restart from a copy that may be old
      elseif earliest <= store[LATEST] then -- a replica took over: the last of what was written may be missing
        store[HOLD], found = now + LEARNING, 'takeover'
      end
    end
  end
  store[RUN], store[LATEST] = ARGV[4], now
end
redis.call('SET', KEYS[1], cmsgpack.pack(store), 'PX', 34560000000)
return { store[GENERATION], found }
