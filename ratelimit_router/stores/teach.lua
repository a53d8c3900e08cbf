-- What was learned of a quota: see `Book.teach`. ARGV[3...]: account, quota, version, amount, capacity, text.

local function run()
  local name, quota, version = ARGV[3], ARGV[4], tonumber(ARGV[5])
  local refused = begin({}, 0, {}, NEVER)
  if refused then
    return refused
  end
  local lessons = account(name)[LESSONS]
  local place = #lessons + 1
  for i, lesson in ipairs(lessons) do
    if lesson[NAME] == quota then
      if lesson[VERSION] ~= version then
        return lesson
      end
      place = i
    end
  end
  lessons[place] = { quota, version + 1, tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8] }
  tell(name)
  finish()
  return lessons[place]
end
