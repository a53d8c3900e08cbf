-- A call was rejected: see `Book.cool`. ARGV[3...]: account, epoch, lasts, extends, verdict, silence, note.

-- Whoever was to call a closed account has to ask again.
local function cancel_booked(name)
  local booked = {}
  charges(name, now, function(member)
    booked[#booked + 1] = string.sub(member, 1, -33)
  end)
  for _, id in ipairs(booked) do
    local record = lease_of(id)
    if record and record[IN_FLIGHT] then
      end_lease(id, record, NOTHING, false)
      wake_line(record[LINE])
    end
  end
end

local function run()
  local name, epoch, lasts, extends = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6] == '1'
  local refused = begin({}, 0, {}, NEVER)
  if refused then
    return refused
  end
  local one, till = account(name), min(now + lasts, NEVER)
  if epoch >= one[EPOCH] then -- later: this store has forgotten a cooldown
    one[EPOCH] = epoch + 1
    one[UNTIL] = one[STATE] == COOLED and max(one[UNTIL], till) or till
  elseif extends and one[STATE] ~= OPEN and till > one[UNTIL] then
    one[UNTIL] = till
  else
    return page(name)
  end
  one[STATE], one[VERDICT], one[SILENCE], one[NOTE] = COOLED, tonumber(ARGV[7]), ARGV[8] == '1', ARGV[9]
  cancel_booked(name)
  tell(name)
  finish()
  return page(name)
end
