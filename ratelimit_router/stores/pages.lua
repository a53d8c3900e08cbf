-- What every act begins with and is written on: see `Pages`. Microseconds are whole numbers, which Lua holds exactly up
-- to 2^53; its tostring has 14 digits, so they never become a part of a string but by '%.0f', or by redis.call itself.
--
-- KEYS[1]: {prefix}:store. ARGV[1]: now, only in tests. ARGV[2]: the generation of the store that the asker knows.
-- Constants are put in their places before the server sees them (see `scripts`). Whatever can fail (no memory, a replica) fails at the first write, which is that of the store's own page.

local call, pack, unpacked, packed_cost, unpacked_cost -- a library has them only when it is called
local max, min, floor, ceil, format

local NEVER, REMEMBERED, MONTH, YEAR = 9007199254740991, 600000000, 2592000000000, 34560000000000
-- a clock that is set back by so little is not noticed: nothing is free any earlier then
local UNNOTICED = 100000
-- so often in the period of its longest window an account's charges are swept
local SWEEPS = 16
local OPEN, COOLED, PROBING = 0, 1, 2
-- what one can lack besides an amount of a unit (1 to 4)
local PLACE, VERDICT_ON_PROBE = 5, 6
-- of the store
local GENERATION, BEGUN, LOSS, HOLD, LATEST, NEXT = 2, 3, 4, 7, 8, 9
-- of an account
local BORN, LOST, LAST, EPOCH, STATE, UNTIL, VERDICT, SILENCE, NOTE, RUNNING = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
local WINDOWS, CONTINUOUS, CALENDARS, LESSONS, WAITING, SWEPT = 11, 12, 13, 14, 15, 16
-- of a window (what was used of each unit follows), a continuous quota, a calendar, a lesson
local PERIOD, TAIL, FIRST, SEEN, USED = 1, 2, 3, 4, 4
local NAME, UNIT, INTERVAL, FULL_AT, INSTANTS, MISSING = 1, 2, 3, 4, 5, 6
local OPENS, CLOSES, GUARD, SPENT, EARLY = 3, 4, 5, 6, 7
local VERSION, AMOUNT, CAPACITY, TEXT = 2, 3, 4, 5
-- of a lease
local LINE, AT, EXPIRES, IN_FLIGHT, ENDED, COST, ACCOUNTS, EPOCHS = 1, 2, 3, 4, 5, 6, 7, 8

local base, now, store
local accounts, records -- those that this act has looked at
local unopened -- accounts as they are kept
local changed, told, telling, wake, waking
local lasting -- accounts whose charges get another time to live
local page_text, page_read -- the store's own page as it was read last, which is mostly as it is now
local back, asker -- what came back to which account, event by event: {name, {what = true}}

local function opened(name, known)
  local one = known and unpacked(known)
  if not one then
    one = { store[BEGUN], store[LOSS], 0, 0, OPEN, 0, 0, true, '', 0, {}, {}, {}, {}, {}, 0 }
  elseif store[BEGUN] > one[BORN] then -- the store has lost something since
    one[BORN], one[LOST], one[CONTINUOUS], one[CALENDARS] = store[BEGUN], store[LOSS], {}, {}
  end
  accounts[name] = one
  return one
end

local function account(name)
  local one = accounts[name]
  if one then
    return one
  end
  local known = unopened[name]
  if known == nil then
    known = call('GET', base .. 'account:' .. name)
  end
  return opened(name, known)
end

-- Leases in flight are kept as long as this page: their set is never empty, or it would lose its time to live.
local function put_store()
  page_text = nil
  call('SET', KEYS[1], pack(store), 'PX', YEAR / 1000)
  call('ZADD', base .. 'running', NEVER, '')
  call('PEXPIRE', base .. 'running', YEAR / 1000)
end

-- Begin, with the first `n` of these accounts at hand, and these leases. `soonest`: nothing of this act expires earlier.
local function begin(names, n, leases, soonest)
  call, pack, unpacked = redis.call, cmsgpack.pack, cmsgpack.unpack
  packed_cost, unpacked_cost = struct.pack, struct.unpack
  max, min, floor, ceil, format = math.max, math.min, math.floor, math.ceil, string.format
  base, now = string.sub(KEYS[1], 1, -6), tonumber(ARGV[1])
  accounts, records, unopened = {}, {}, {}
  changed, told, telling, wake, waking, lasting, back, asker = {}, nil, nil, nil, nil, nil, {}, nil
  local keys = { KEYS[1] }
  for i = 1, n do
    keys[i + 1] = base .. 'account:' .. names[i]
  end
  for i = 1, #leases do
    keys[n + 1 + i] = base .. 'lease:' .. leases[i]
  end
  local found = call('MGET', unpack(keys))
  if not found[1] then
    return redis.error_reply('BLANK nothing is here')
  end
  if found[1] ~= page_text then
    page_text, page_read = found[1], unpacked(found[1])
  end
  store = page_read
  if store[GENERATION] ~= ARGV[2] then
    return redis.error_reply('BLANK begun anew')
  end
  if not now then
    local time = call('TIME')
    now = time[1] * 1000000 + time[2]
  end
  now = max(now, store[LATEST])
  if soonest and (now > store[LATEST] + UNNOTICED or now + soonest < store[NEXT]) then
    store[LATEST], store[NEXT] = now, min(store[NEXT], now + soonest)
    put_store()
  end
  for i = 1, n do
    unopened[names[i]] = found[i + 1]
  end
  for i = 1, #leases do
    local known = found[n + 1 + i]
    records[leases[i]] = known and unpacked(known)
  end
end

local function tell(name)
  changed[name] = true
  if not told then
    told, telling = {}, {}
  end
  if not telling[name] then
    telling[name] = true
    told[#told + 1] = name
  end
end

local function wake_line(line)
  if not wake then
    wake, waking = {}, {}
  end
  if not waking[line] then
    waking[line] = true
    wake[#wake + 1] = line
  end
end

-- So much of every unit, and a place among the calls in flight.
local function came_back(name, cost, place)
  local what = { [PLACE] = place }
  for unit = 1, 4 do
    what[unit] = cost[unit] > 0
  end
  back[#back + 1] = { name, what }
end

-- Whoever asked first of those who lack what came back is to ask again, and stands in line again then.
local function offer(name, what)
  local waiting = account(name)[WAITING]
  for i = 1, #waiting, 2 do
    if what[waiting[i + 1]] and waiting[i] ~= asker then
      wake_line(table.remove(waiting, i))
      table.remove(waiting, i)
      changed[name] = true
      return
    end
  end
end

-- -- charges and leases ---------------------------------------------------------------------------------------------

-- Visit (member, instant) of an account's charges later than `after`, oldest first, until it says true.
local function charges(name, after, visit)
  local key, from, offset, size = base .. 'charges:' .. name, format('(%.0f', after), 0, 16
  repeat
    local some = call('ZRANGEBYSCORE', key, from, '+inf', 'WITHSCORES', 'LIMIT', offset, size)
    for i = 1, #some, 2 do
      if visit(some[i], tonumber(some[i + 1])) then
        return
      end
    end
    offset, size = offset + #some / 2, size * 2
  until #some < size
end

-- Costs are the last 32 bytes of a charge, as they are of what the router sends.
local function costs_in(member)
  local a, b, c, d = unpacked_cost('>I8I8I8I8', member, #member - 31)
  return a, b, c, d
end

local function cost_in(member)
  local a, b, c, d = unpacked_cost('>I8I8I8I8', member, #member - 31)
  return { a, b, c, d }
end

local function entry(lease, cost)
  return lease .. packed_cost('>I8I8I8I8', cost[1], cost[2], cost[3], cost[4])
end

-- A lease; false if it is not known.
local function lease_of(id)
  local record = records[id]
  if record == nil then
    local known = call('GET', base .. 'lease:' .. id)
    record = known and unpacked(known)
    records[id] = record
  end
  return record
end

local function keep(id, record)
  records[id] = record
  local longest, names = REMEMBERED, record[ACCOUNTS]
  for i = 1, #names do
    local windows = account(names[i])[WINDOWS]
    for j = 1, #windows do
      longest = max(longest, windows[j][PERIOD])
    end
  end
  local left = max(record[EXPIRES] + longest - now, REMEMBERED)
  local running = base .. 'running'
  if record[IN_FLIGHT] then
    left = max(left, MONTH) -- whatever happens, its place is given back
    call('ZADD', running, record[EXPIRES], id)
  else
    call('ZREM', running, id)
  end
  call('SET', base .. 'lease:' .. id, pack(record), 'PX', ceil(left / 1000))
end

-- -- the end of an act ----------------------------------------------------------------------------------------------

-- No router has asked for this window for a whole period; no window needs these charges.
local function forget(name)
  local one, longest = accounts[name], 0
  local windows = one[WINDOWS]
  for i = #windows, 1, -1 do
    if windows[i][SEEN] + windows[i][PERIOD] < now then
      table.remove(windows, i)
    else
      longest = max(longest, windows[i][PERIOD])
    end
  end
  if now - longest >= one[SWEPT] + floor(longest / SWEEPS) then
    one[SWEPT], lasting = now - longest, lasting or {}
    lasting[name] = true
    call('ZREMRANGEBYSCORE', base .. 'charges:' .. name, '(-inf', now - longest)
  end
end

-- Offer what came back, keep what has changed, and tell the others.
local function finish()
  for i = 1, #back do
    offer(back[i][1], back[i][2])
  end
  for name in pairs(changed) do
    local one = accounts[name]
    local windows, continuous, calendars = one[WINDOWS], one[CONTINUOUS], one[CALENDARS]
    local longest, over = 0, max(now, one[LAST], min(one[UNTIL], now + YEAR))
    for i = 1, #windows do
      longest = max(longest, windows[i][PERIOD])
    end
    for i = 1, #continuous do
      over = max(over, continuous[i][FULL_AT])
    end
    for i = 1, #calendars do
      over = max(over, calendars[i][CLOSES] + calendars[i][GUARD])
    end
    local left = ceil((over + longest + MONTH - now) / 1000)
    if lasting and lasting[name] then -- they are never empty, or would lose their time to live
      call('ZADD', base .. 'charges:' .. name, '-inf', '')
      call('PEXPIRE', base .. 'charges:' .. name, left)
    end
    call('SET', base .. 'account:' .. name, pack(one), 'PX', left)
  end
  if wake or told then
    call('PUBLISH', base .. 'news', cjson.encode({ wake or {}, told or {} }))
  end
end
