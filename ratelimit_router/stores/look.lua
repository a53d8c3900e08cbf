-- What is known of accounts: ARGV[3...]. Nothing changes.

local function run()
  local refused = begin({}, 0, {})
  if refused then
    return refused
  end
  local pages = {}
  for i = 3, #ARGV do
    pages[i - 2] = page(ARGV[i])
  end
  return pages
end
