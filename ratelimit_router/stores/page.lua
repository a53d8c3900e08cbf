-- What is known of an account: see `Page`.

local function page(name)
  local one, charged, continuous, calendars, lessons = account(name), {}, {}, {}, {}
  charges(name, 0, function(member, at)
    charged[#charged + 1] = { at, costs_in(member) }
  end)
  for i, quota in ipairs(one[CONTINUOUS]) do
    continuous[i] = { quota[NAME], quota[FULL_AT] }
  end
  for i, quota in ipairs(one[CALENDARS]) do
    calendars[i] = { quota[NAME], quota[OPENS], quota[SPENT] }
  end
  for i, lesson in ipairs(one[LESSONS]) do
    lessons[i] = lesson
  end
  local till = one[STATE] == COOLED and one[UNTIL] or 0
  return { name, now, one[EPOCH], till, one[NOTE], one[RUNNING], charged, continuous, calendars, lessons }
end
