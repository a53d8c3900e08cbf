-- Calls are still in flight: see `Book.renew`. ARGV[3]: for how long. ARGV[4...]: leases. Returns those not known.

local function run()
  local lasts, lost = tonumber(ARGV[3]), {}
  local refused = begin({}, 0, {}, lasts)
  if refused then
    return refused
  end
  for i = 4, #ARGV do
    local id, record = ARGV[i], lease_of(ARGV[i])
    if not record then
      lost[#lost + 1] = id
    elseif not record[ENDED] then
      if not record[IN_FLIGHT] then -- it had expired, too early
        for _, name in ipairs(record[ACCOUNTS]) do
          local one = account(name)
          one[RUNNING] = one[RUNNING] + 1
          changed[name] = true
        end
      end
      record[IN_FLIGHT], record[EXPIRES] = true, max(now, record[AT]) + lasts
      keep(id, record)
    end
  end
  expire(lasts)
  finish()
  return lost
end
