-- Serve the first of the wants that can be, in order, and book the next: see `Book.admit`.
--
-- ARGV[3]: the chain, packed: {latest opening, earliest closing, names, terms, steps, how many accounts the first step
-- has}. Of each account its terms, packed again, since most are not looked at: {concurrency, rations}. The steps are
-- flat: how many; of each how many offers; of each how many accounts, and their places. Or its digest, once a library
-- has been told of it.
-- ARGV[4..8]: line, lasts, instead, whether it waits, how many wants; then the wants (lease, cost, within: 3 each) and
-- the ends.
-- Returns {now} if a window is stale, else {now, {{lease, offer, at, epochs...}...}, {{at, why, account, quota}...}}.

local FURTHEST, GRACE = 120000000, 15000000
local QUOTA, CONCURRENCY, COOLING, PROBED, TOO_LARGE = 0, 1, 2, 3, 4
local ROLLING, CALENDAR = 1, 2
-- of a ration
local R_NAME, R_UNIT, R_KIND, R_AMOUNT, R_PERIOD, R_CAPACITY, R_CEILING = 1, 2, 3, 4, 5, 6, 7
local R_GUARD, R_OPENS, R_CLOSES = 8, 9, 10
-- of what keeps an account, or an offer, from being charged: see `when`
local W_AT, W_WHY, W_NAME, W_QUOTA, W_LACKS = 1, 2, 3, 4, 5

-- of the act
local names, terms, steps
local quotas -- of each account, of each ration in turn: its gauge, its rate and capacity as they are known to be
local chains, kept = {}, 0 -- chains that were unpacked before: only a library keeps them

-- -- every quota as it is now ---------------------------------------------------------------------------------------

-- Take out of a window what is back.
local function turn(one, name, period)
  local windows, upto, window = one[WINDOWS], now - period, nil
  for i = 1, #windows do
    if windows[i][PERIOD] == period then
      window = windows[i]
    end
  end
  if not window then
    changed[name] = true
    window = { period, upto, NEVER, now, 0, 0, 0, 0 }
    windows[#windows + 1] = window
    charges(name, upto, function(member, at)
      local a, b, c, d = costs_in(member)
      window[FIRST] = min(window[FIRST], at)
      window[5], window[6], window[7], window[8] = window[5] + a, window[6] + b, window[7] + c, window[8] + d
    end)
  elseif window[FIRST] <= upto then
    local following = NEVER
    charges(name, window[TAIL], function(member, at)
      if at > upto then
        following = at
        return true
      end
      local a, b, c, d = costs_in(member)
      window[5], window[6], window[7], window[8] = window[5] - a, window[6] - b, window[7] - c, window[8] - d
    end)
    window[TAIL], window[FIRST] = upto, following
  end
  window[SEEN] = now
  return window
end

local function named(quotas, name)
  for i = 1, #quotas do
    if quotas[i][NAME] == name then
      return quotas[i]
    end
  end
end

-- Tell a new gauge what is still kept of the charges after that instant.
local function replay(name, gauge, after, spend_it)
  charges(name, after, function(member, at)
    spend_it(gauge, cost_in(member), at)
  end)
end

local function turn_calendar(one, name, ration)
  local quota = named(one[CALENDARS], ration[R_NAME])
  local opens, closes = ration[R_OPENS], ration[R_CLOSES]
  if not quota then
    local spent = one[LOST] == 1 and one[BORN] >= opens and ration[R_CEILING] or 0
    quota = { ration[R_NAME], ration[R_UNIT], opens, closes, ration[R_GUARD], spent, 0 }
    table.insert(one[CALENDARS], quota)
    changed[name] = true
    replay(name, quota, spent ~= 0 and one[BORN] or opens - 1, spend_calendar)
  end
  quota[GUARD] = ration[R_GUARD]
  if closes > quota[CLOSES] and now >= quota[CLOSES] + quota[GUARD] then
    quota[SPENT] = opens == quota[CLOSES] and quota[EARLY] or 0
    quota[OPENS], quota[CLOSES], quota[EARLY] = opens, closes, 0
  end
  return quota
end

local function refit(one, name, ration, rate, capacity)
  local quota, interval = named(one[CONTINUOUS], ration[R_NAME]), ration[R_PERIOD] / rate
  if not quota then
    local full_at = one[BORN] ~= 0 and one[BORN] + floor(capacity * interval) + 1 or 0
    quota = { ration[R_NAME], ration[R_UNIT], interval, full_at, {}, {} }
    table.insert(one[CONTINUOUS], quota)
    changed[name] = true
    replay(name, quota, one[BORN], spend_continuous)
  end
  if interval ~= quota[INTERVAL] then
    if quota[FULL_AT] > now then
      quota[FULL_AT] = now + ceil((quota[FULL_AT] - now) / quota[INTERVAL] * interval)
    end
    quota[INTERVAL], quota[INSTANTS], quota[MISSING] = interval, { now }, { max(quota[FULL_AT] - now, 0) }
  end
  return quota
end

-- Have a gauge for every ration of an account, as it is now.
local function catch_up(i)
  local name, rations, known = names[i], terms[i][2], {}
  local one = account(name)
  quotas[i] = known
  if one[STATE] == PROBING and one[UNTIL] <= now and one[SILENCE] then
    one[STATE], one[UNTIL] = OPEN, 0 -- nothing was heard of the probe: it was accepted
  end
  local learned, before, window, q = one[LESSONS][1], nil, nil, 0
  for r = 1, #rations do
    local ration = rations[r]
    local kind, rate, capacity, gauge = ration[R_KIND], ration[R_AMOUNT], ration[R_CAPACITY], nil
    if learned then
      rate, capacity = limits(one, ration[R_NAME], rate, capacity)
    end
    if kind == ROLLING then
      local period = ration[R_PERIOD] + ration[R_GUARD]
      if period ~= before then
        window, before = turn(one, name, period), period
      end
      gauge = window
    elseif kind == CALENDAR then
      gauge = turn_calendar(one, name, ration)
    elseif rate > 0 then
      gauge = refit(one, name, ration, rate, capacity)
    end
    known[q + 1], known[q + 2], known[q + 3] = gauge or false, rate, capacity
    q = q + 3
  end
end

local function caught_up(i)
  if not quotas[i] then
    if type(terms[i]) == 'string' then
      terms[i] = unpacked(terms[i])
    end
    catch_up(i)
  end
end

-- -- when ------------------------------------------------------------------------------------------------------------

-- The earliest instant at which so much of a quota is there.
local function free_at(one, name, ration, gauge, rate, capacity, amount)
  local kind = ration[R_KIND]
  if rate <= 0 or capacity <= 0 then
    return NEVER
  end
  amount = min(amount, capacity)
  if kind == ROLLING then
    local unit, period, free = ration[R_UNIT], gauge[PERIOD], now
    local missing = gauge[USED + unit] + amount - capacity
    if one[BORN] ~= 0 then
      free = max(one[BORN] + period, now)
    end
    if missing > 0 then
      charges(name, gauge[TAIL], function(member, at)
        missing = missing - cost_in(member)[unit]
        if missing <= 0 then
          free = max(at + period, free)
          return true
        end
      end)
    end
    return free
  elseif kind == CALENDAR then
    return gauge[SPENT] + amount <= capacity and now or gauge[CLOSES] + ration[R_GUARD]
  end
  return max(gauge[FULL_AT] - floor((capacity - amount) * gauge[INTERVAL]) + ration[R_GUARD], now)
end

-- What keeps an account from being charged so much: {instant, why, name, quota, what is lacking}.
local function when(i, cost)
  caught_up(i)
  local name, concurrency, rations, known = names[i], terms[i][1], terms[i][2], quotas[i]
  local one = accounts[name]
  if concurrency ~= 0 and one[RUNNING] >= concurrency then
    return { NEVER, CONCURRENCY, name, 'concurrency', PLACE }
  end
  local latest, why, quota, lacks = max(now, store[HOLD]), QUOTA, '', nil
  if concurrency ~= 0 and one[BORN] ~= 0 then -- whoever has calls in flight may not have said so yet
    latest, why, lacks = max(one[BORN] + GRACE, latest), CONCURRENCY, PLACE
  end
  if one[STATE] ~= OPEN and one[UNTIL] > latest then
    latest, why, lacks = one[UNTIL], one[STATE] == COOLED and COOLING or PROBED, VERDICT_ON_PROBE
  end
  for r = 1, #rations do
    local ration = rations[r]
    local amount = cost[ration[R_UNIT]]
    if amount > ration[R_CEILING] then
      return { NEVER, TOO_LARGE, name, ration[R_NAME] }
    end
    if amount ~= 0 then
      local at = free_at(one, name, ration, known[3 * r - 2], known[3 * r - 1], known[3 * r], amount)
      if at > latest then
        latest, why, quota, lacks = at, QUOTA, ration[R_NAME], ration[R_UNIT]
      end
    end
  end
  return { latest, why, name, quota, lacks }
end

-- The share of an account's tightest limit that is used.
local function share(i)
  local one, concurrency, rations, known, most = accounts[names[i]], terms[i][1], terms[i][2], quotas[i], 0
  if concurrency ~= 0 then
    most = one[RUNNING] / concurrency
  end
  for r = 1, #rations do
    local kind, gauge, capacity, used = rations[r][R_KIND], known[3 * r - 2], known[3 * r], 1
    if known[3 * r - 1] > 0 and capacity > 0 then
      if kind == ROLLING then
        used = gauge[USED + rations[r][R_UNIT]] / capacity
      elseif kind == CALENDAR then
        used = gauge[SPENT] / capacity
      else
        used = max(gauge[FULL_AT] - now, 0) / gauge[INTERVAL] / capacity
      end
    end
    most = max(most, used)
  end
  return most
end

-- Of equals the one with the most headroom, then the one that was chosen least recently.
local function best_of(free, places)
  local chosen, least, last = free[1], nil, nil
  for i = 1, #free do
    local place, most = places[free[i]], 0
    for a = place + 1, place + steps[place] do
      most = max(most, share(steps[a]))
    end
    local chosen_at = accounts[names[steps[place + 1]]][LAST]
    if not least or most < least or (most == least and chosen_at < last) then
      chosen, least, last = free[i], most, chosen_at
    end
  end
  return chosen
end

-- When each offer can be had, and why not earlier, up to the first step that is free; which one to take; and where each
-- stands in the steps. `all`: even if one is free.
local function find(cost, all)
  local alone, found, places, n, o = {}, {}, {}, 0, 2
  for _ = 1, steps[1] do
    local offers, first, free = steps[o], nil, nil
    o = o + 1
    for _ = 1, offers do
      local worst
      for a = o + 1, o + steps[o] do
        local i = steps[a]
        local one = alone[i]
        if not one then
          one = when(i, cost)
          alone[i] = one
        end
        if not worst or one[W_AT] > worst[W_AT] then
          worst = one
        end
      end
      n = n + 1
      found[n], places[n] = worst, o
      if worst[W_AT] <= now then
        if not first then
          first = n
        else
          free = free or { first }
          free[#free + 1] = n
        end
      end
      o = o + 1 + steps[o]
    end
    if first and not all then
      return found, free and best_of(free, places) or first, places
    end
  end
  local chosen = 1
  for i = 2, n do
    if found[i][W_AT] < found[chosen][W_AT] then
      chosen = i
    end
  end
  return found, chosen, places
end

-- Whether what is known now still holds at that instant: no reset lies between, no verdict is awaited.
local function is_bookable(place, at)
  for a = place + 1, place + steps[place] do
    local i = steps[a]
    if accounts[names[i]][STATE] == PROBING then
      return false
    end
    for r = 1, #terms[i][2] do
      if terms[i][2][r][R_KIND] == CALENDAR and at >= quotas[i][3 * r - 2][CLOSES] then
        return false
      end
    end
  end
  return now >= store[HOLD] -- until then others may tell of what they have spent
end

-- -- granting --------------------------------------------------------------------------------------------------------

local function grant(id, index, place, at, cost, member, line, lasts)
  local answer, charged, epochs = { id, index - 1, at }, {}, {}
  for i = 1, steps[place] do
    local name = names[steps[place + i]]
    local one = accounts[name]
    charged[i], epochs[i], answer[3 + i] = name, one[EPOCH], one[EPOCH]
    call('ZADD', base .. 'charges:' .. name, at, member)
    spend(one, cost, at)
    one[LAST], one[RUNNING] = max(one[LAST], at), one[RUNNING] + 1
    if one[STATE] ~= OPEN then
      one[STATE], one[UNTIL] = PROBING, at + one[VERDICT]
    end
    changed[name] = true
  end
  keep(id, { line, at, at + lasts, true, false, cost, charged, epochs })
  return answer
end

-- A lease that was granted before, to somebody who has not heard of it.
local function again(id, record)
  local index, o, wanted_names = 0, 2, record[ACCOUNTS]
  for _ = 1, steps[1] do
    local offers = steps[o]
    o = o + 1
    for _ = 1, offers do
      local same = steps[o] == #wanted_names
      for i = 1, steps[o] do
        same = same and names[steps[o + i]] == wanted_names[i]
      end
      if same then
        return { id, index, record[AT], unpack(record[EPOCHS]) }
      end
      index, o = index + 1, o + 1 + steps[o]
    end
  end
  return { id, -1, record[AT], unpack(record[EPOCHS]) }
end

-- -- the act ---------------------------------------------------------------------------------------------------------

-- A continuous gauge is one instant: it could not tell a place between others that are booked from one behind.
local function copy(continuous)
  local copies = {}
  for i, quota in ipairs(continuous) do
    copies[i] = { unpack(quota) }
    copies[i][INSTANTS], copies[i][MISSING] = { unpack(quota[INSTANTS]) }, { unpack(quota[MISSING]) }
  end
  return copies
end

-- The offer that was booked before, if that was better: a line that finds nothing better keeps its place, for the next if
-- the first was served elsewhere. `charged`: the accounts of all that was granted in this act.
local function same_place(given_up, given_back, cost, at, within, places, charged)
  if not given_back or given_up[AT] >= min(at, now + within) then
    return nil
  end
  for _, name in ipairs(given_up[ACCOUNTS]) do
    if charged[name] then
      return nil
    end
  end
  for unit = 1, 4 do
    if given_back[unit] ~= cost[unit] then
      return nil
    end
  end
  local wanted_names = given_up[ACCOUNTS]
  for index = 1, #places do
    local place = places[index]
    local same = steps[place] == #wanted_names
    for i = 1, steps[place] do
      same = same and names[steps[place + i]] == wanted_names[i]
    end
    if same then
      return is_bookable(place, given_up[AT]) and index or nil
    end
  end
end

-- The line leaves: what it was to have, or was woken for, is offered to the next.
local function leave(line)
  for i = 1, #names do
    local waiting = account(names[i])[WAITING]
    for j = #waiting - 1, 1, -2 do
      if waiting[j] == line then
        table.remove(waiting, j)
        table.remove(waiting, j)
      end
    end
    back[#back + 1] = { names[i], { true, true, true, true, true, true } }
    changed[names[i]] = true
  end
  finish()
  return { now, {}, {} }
end

-- Those who were not served stand in line, and are woken when what they lack comes back, in the order in which they asked
-- first. `lacking`: what, by account.
local function stand_in_line(line, lacking, waits)
  for i = 1, waits and #names or 0 do
    local name = names[i]
    if not accounts[name] and unopened[name] and string.find(unopened[name], line, 1, true) then
      account(name) -- the line may wait there
    end
  end
  for name, one in pairs(accounts) do
    local waiting, place, lacks = one[WAITING], nil, lacking[name]
    for i = 1, #waiting, 2 do
      if waiting[i] == line then
        place = i
      end
    end
    if not place then
      if lacks then
        waiting[#waiting + 1] = line
        waiting[#waiting + 1] = lacks
        changed[name] = true
      end
    elseif not lacks then
      table.remove(waiting, place)
      table.remove(waiting, place)
      changed[name] = true
    elseif waiting[place + 1] ~= lacks then
      waiting[place + 1] = lacks
      changed[name] = true
    end
  end
  asker = line
end

local function run()
  local chain = chains[ARGV[3]]
  if not chain then
    if #ARGV[3] == 40 then
      return redis.error_reply('CHAIN is not known')
    end
    chain = cmsgpack.unpack(ARGV[3])
    if ARGV[8] ~= '0' then -- whoever leaves does not come back with it
      chains, kept = kept < 512 and chains or {}, kept < 512 and kept + 1 or 1
      chains[redis.sha1hex(ARGV[3])] = chain
    end
  end
  names, terms, steps, quotas = chain[3], chain[4], chain[5], {}
  local line, lasts, instead, wanted = ARGV[4], tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[8])
  local waits, ENDS = ARGV[7] == '1', 9 + 3 * wanted

  local leases = {}
  for i = 9, math.min(ENDS - 1, 309), 3 do -- the rest is got one by one
    leases[#leases + 1] = ARGV[i]
  end
  for i = ENDS, math.min(#ARGV, ENDS + 200), 2 do
    leases[#leases + 1] = ARGV[i]
  end
  if instead ~= '' then
    leases[#leases + 1] = instead
  end
  local refused = begin(names, (waits or wanted == 0) and #names or chain[6], leases, lasts)
  if refused then
    return refused
  end
  if now < chain[1] or now >= chain[2] then
    return { now }
  end

  expire(lasts)
  end_all(ENDS)
  -- A booking is given back, to ask for a better one, and nobody is woken yet.
  local as_it_was = {}
  local given_up, given_back = instead ~= '' and lease_of(instead), nil
  if given_up and not given_up[ENDED] and given_up[AT] > now then
    local before = back
    given_back, back = given_up[COST], {}
    for _, name in ipairs(given_up[ACCOUNTS]) do
      as_it_was[name] = copy(account(name)[CONTINUOUS])
    end
    end_lease(instead, given_up, NOTHING, true)
    back = before
  end

  if wanted == 0 then
    return leave(line)
  end

  local grants, found, served, upto, charged = {}, {}, true, 0, {}
  for w = 1, wanted do
    local a = 6 + 3 * w
    local id = ARGV[a]
    local record = lease_of(id)
    if record and (record[ENDED] or record[AT] <= now) then
      if not record[ENDED] then
        grants[#grants + 1] = again(id, record)
      end
    else
      local cost, index, places = cost_in(ARGV[a + 1]), nil, nil
      found, index, places = find(cost, record)
      upto = #found
      if record then -- a booking: it stays the last, and in line
        grants[#grants + 1], served = again(id, record), false
        break
      end
      local at, within = found[index][W_AT], tonumber(ARGV[a + 2])
      served = at <= now
      local place = same_place(given_up, given_back, cost, at, within, places, charged)
      if place then
        grants[#grants + 1] =
          grant(id, place, places[place], given_up[AT], cost, id .. ARGV[a + 1], line, lasts)
        for name, continuous in pairs(as_it_was) do
          accounts[name][CONTINUOUS] = continuous
        end
        break
      end
      if served or (at - now <= min(within, FURTHEST) and is_bookable(places[index], at)) then
        grants[#grants + 1] = grant(id, index, places[index], max(at, now), cost, id .. ARGV[a + 1], line, lasts)
        for i = 1, steps[places[index]] do
          charged[names[steps[places[index] + i]]] = true
        end
      end
      if not served then
        break
      end
      upto = index - 1
    end
  end

  local lacking, denials = {}, {}
  for i = 1, upto do
    denials[i] = { found[i][W_AT], found[i][W_WHY], found[i][W_NAME], found[i][W_QUOTA] }
    if not served then
      lacking[found[i][W_NAME]] = found[i][W_LACKS] -- nothing, if it has become free since, or never will be
    end
  end
  stand_in_line(line, lacking, waits)
  if given_back and (not grants[1] or grants[#grants][3] < given_up[AT]) then
    for _, name in ipairs(given_up[ACCOUNTS]) do -- its place is free for somebody else
      came_back(name, given_back, true)
    end
  end
  for i = 1, #back do
    offer(back[i][1], back[i][2])
  end
  back = {}
  for i = 1, #names do
    if quotas[i] and changed[names[i]] then
      forget(names[i])
    end
  end
  finish()
  return { now, grants, denials }
end
