-- Leases that this store may have lost, or was never told of: see `Book.restate`.
-- ARGV[3]: packed, of each its id, and whatever is kept of a lease.

local function run()
  local refused = begin({}, 0, {}, 0)
  if refused then
    return refused
  end
  for _, told_again in ipairs(unpacked(ARGV[3])) do
    local id, record = told_again[1], told_again[2]
    if not lease_of(id) then
      for _, name in ipairs(record[ACCOUNTS]) do
        local one = account(name)
        call('ZADD', base .. 'charges:' .. name, record[AT], entry(id, record[COST]))
        correct(one, record[COST], record[AT])
        if record[IN_FLIGHT] then
          one[RUNNING] = one[RUNNING] + 1
        end
        changed[name], lasting = true, lasting or {}
        lasting[name] = true
      end
      keep(id, record)
    end
  end
  finish()
  return now
end
