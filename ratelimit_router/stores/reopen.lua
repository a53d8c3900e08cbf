-- The operator has changed something: see `Book.reopen`. ARGV[3...]: accounts.

local function run()
  local refused = begin({}, 0, {}, NEVER)
  if refused then
    return refused
  end
  for i = 3, #ARGV do
    local one = account(ARGV[i])
    if one[STATE] ~= OPEN then
      one[STATE], one[UNTIL] = COOLED, now
      tell(ARGV[i])
    end
  end
  finish()
  return now
end
