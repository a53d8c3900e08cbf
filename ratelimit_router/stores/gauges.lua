-- How much of a quota is used: see `gauges`.

-- (rate, capacity) as the asker knows them, and as others have learned them.
local function limits(one, name, amount, capacity)
  for _, lesson in ipairs(one[LESSONS]) do
    if lesson[NAME] == name and lesson[AMOUNT] ~= 0 then
      return min(amount, lesson[AMOUNT]), min(capacity, lesson[CAPACITY])
    end
  end
  return amount, capacity
end

-- Note what a continuous quota lacks at that instant, which may lie before others that something is booked for.
local function mark(quota, at)
  local instants, missing, lacked = quota[INSTANTS], quota[MISSING], max(quota[FULL_AT] - at, 0)
  local index = #instants + 1
  while index > 1 and instants[index - 1] >= at do
    index = index - 1
  end
  if instants[index] and (instants[index] == at or missing[index] <= lacked) then
    return
  end
  while index > 1 and missing[index - 1] >= lacked do
    index = index - 1
    table.remove(instants, index)
    table.remove(missing, index)
  end
  table.insert(instants, index, at)
  table.insert(missing, index, lacked)
  if #missing > 32 then
    table.remove(instants, 1)
    table.remove(missing, 2)
  end
end

local function spend_continuous(quota, cost, at)
  local amount = cost[quota[UNIT]]
  if amount ~= 0 then
    mark(quota, at)
    quota[FULL_AT] = max(quota[FULL_AT], at) + ceil(amount * quota[INTERVAL])
  end
end

local function spend_calendar(quota, cost, at)
  local amount = cost[quota[UNIT]]
  quota[SPENT] = quota[SPENT] + amount
  if at >= quota[CLOSES] then
    quota[EARLY] = quota[EARLY] + amount
  end
end

-- Something was charged at `at`.
local function spend(one, cost, at)
  local windows, continuous, calendars = one[WINDOWS], one[CONTINUOUS], one[CALENDARS]
  for i = 1, #windows do
    local window = windows[i]
    window[FIRST] = min(window[FIRST], at)
    for unit = 1, 4 do
      window[USED + unit] = window[USED + unit] + cost[unit]
    end
  end
  for i = 1, #continuous do
    spend_continuous(continuous[i], cost, at)
  end
  for i = 1, #calendars do
    spend_calendar(calendars[i], cost, at)
  end
end

-- The part of a refund that has not come back by itself since.
local function give_back(quota, time, at)
  local instants, missing, since = quota[INSTANTS], quota[MISSING], 1
  while instants[since] and instants[since] <= at do
    since = since + 1
  end
  if not missing[since] then
    return time
  end
  time = min(time, missing[since])
  for index = since, #missing do
    missing[index] = missing[index] - time
  end
  while since > 1 and missing[since - 1] >= missing[since] do
    since = since - 1
    table.remove(instants, since)
    table.remove(missing, since)
  end
  return time
end

-- What was charged at `at` was so much more.
local function correct(one, delta, at)
  for _, window in ipairs(one[WINDOWS]) do
    if at > window[TAIL] then
      window[FIRST] = min(window[FIRST], at)
      for unit = 1, 4 do
        window[USED + unit] = window[USED + unit] + delta[unit]
      end
    end
  end
  for _, quota in ipairs(one[CONTINUOUS]) do
    local amount = delta[quota[UNIT]]
    if amount > 0 then
      quota[FULL_AT] = max(quota[FULL_AT], at) + ceil(amount * quota[INTERVAL])
    elseif amount < 0 then
      quota[FULL_AT] = quota[FULL_AT] - give_back(quota, floor(-amount * quota[INTERVAL]), at)
    end
  end
  for _, quota in ipairs(one[CALENDARS]) do
    if at >= quota[OPENS] then
      quota[SPENT] = max(quota[SPENT] + delta[quota[UNIT]], 0)
    end
    if at >= quota[CLOSES] then
      quota[EARLY] = max(quota[EARLY] + delta[quota[UNIT]], 0)
    end
  end
end
