-- Calls are over: see `Book.end`. ARGV[3...]: the ends.

local function run()
  local refused = begin({}, 0, {}, NEVER)
  if refused then
    return refused
  end
  end_all(3)
  finish()
  return now
end
