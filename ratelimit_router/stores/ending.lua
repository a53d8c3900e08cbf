-- How a lease ends: by itself, or because somebody says so. See `Book`, "afterwards".

local NOTHING = { 0, 0, 0, 0 }

-- A call ended that may have been the probe.
local function judge(name, one, record, nothing, answered)
  if nothing then
    one[STATE], one[UNTIL] = COOLED, min(one[UNTIL], max(now, record[AT]))
  elseif answered then
    one[STATE], one[UNTIL] = OPEN, 0
    tell(name)
  end
  if nothing or answered then
    for _ = 1, #one[WAITING], 2 do
      back[#back + 1] = { name, { [VERDICT_ON_PROBE] = true } }
    end
  end
end

-- Replace what a lease was charged by what it really cost, and free its place.
local function end_lease(id, record, cost, answered)
  local old, names = record[COST], record[ACCOUNTS]
  local delta = { cost[1] - old[1], cost[2] - old[2], cost[3] - old[3], cost[4] - old[4] }
  local differs = delta[1] ~= 0 or delta[2] ~= 0 or delta[3] ~= 0 or delta[4] ~= 0
  local nothing = cost[1] == 0 and cost[2] == 0 and cost[3] == 0 and cost[4] == 0
  for i = 1, #names do
    local name = names[i]
    local one = account(name)
    if one[STATE] == PROBING and one[EPOCH] == record[EPOCHS][i] then
      judge(name, one, record, nothing, answered)
    end
    if record[IN_FLIGHT] then
      one[RUNNING] = one[RUNNING] - 1
    end
    if differs then
      correct(one, delta, record[AT])
      local key = base .. 'charges:' .. name
      if call('ZREM', key, entry(id, old)) == 1 and not nothing then
        call('ZADD', key, record[AT], entry(id, cost))
      end
    end
    came_back(name, { -delta[1], -delta[2], -delta[3], -delta[4] }, record[IN_FLIGHT])
    changed[name] = true
  end
  record[COST], record[IN_FLIGHT], record[ENDED] = cost, false, true
  keep(id, record)
end

-- Calls are over: from ARGV[first] on, two for each: lease; '1' if it was answered, and what it cost, unless that is what
-- was charged.
local function end_all(first)
  for i = first, #ARGV, 2 do
    local id, record, how = ARGV[i], lease_of(ARGV[i]), ARGV[i + 1]
    if record and not record[ENDED] then
      end_lease(id, record, #how > 1 and cost_in(how) or record[COST], string.sub(how, 1, 1) == '1')
    end
  end
end

-- What a process that died had in flight is in flight no more. What it spent stays spent. `soonest`: see `begin`.
local function expire(soonest)
  if now < store[NEXT] then
    return
  end
  local running = base .. 'running'
  for _, id in ipairs(call('ZRANGEBYSCORE', running, '-inf', now)) do
    local record = lease_of(id)
    if record then
      for _, name in ipairs(record[ACCOUNTS]) do
        local one = account(name)
        one[RUNNING] = one[RUNNING] - 1
        came_back(name, NOTHING, true)
        changed[name] = true
      end
      record[IN_FLIGHT] = false
      keep(id, record)
    else
      call('ZREM', running, id)
    end
  end
  local first = call('ZRANGE', running, 0, 0, 'WITHSCORES')
  store[NEXT] = min(first[2] and tonumber(first[2]) or NEVER, now + soonest)
  put_store()
end
