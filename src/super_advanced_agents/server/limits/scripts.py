"""The scripts that run in Valkey; each is one atomic step, by the clock of Valkey alone."""

CHARGE = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local window, settle = tonumber(ARGV[1]), ARGV[2] == '1'
local number = math.floor(now / window)
local left = window - (now - number * window)
local fits, states, reply = true, {}, {1, math.floor(left * 1000)}
for i, key in ipairs(KEYS) do
  local limit, amount = tonumber(ARGV[2 * i + 1]), tonumber(ARGV[2 * i + 2])
  local stored = redis.call('HMGET', key, 'number', 'spent', 'previous')
  local at, spent, previous = tonumber(stored[1]), tonumber(stored[2]) or 0, tonumber(stored[3]) or 0
  if at == number - 1 then
    previous, spent = spent, 0
  elseif at ~= number then
    previous, spent = 0, 0
  end
  local units = math.max(0, limit - spent - math.floor(previous * left / window))
  fits = fits and (settle or amount <= units)
  states[i] = {spent, previous, math.min(amount, units)}
  reply[2 * i + 1], reply[2 * i + 2] = previous, spent
end
if not fits then
  reply[1] = 0
  return reply
end
for i, key in ipairs(KEYS) do
  local spent, previous, amount = unpack(states[i])
  if amount > 0 then
    redis.call('HSET', key, 'number', number, 'spent', spent + amount, 'previous', previous)
    redis.call('PEXPIRE', key, 2000 * window)
  end
end
return reply
"""
"""Charge units to sliding windows, to all or to none.

KEYS: the windows. ARGV: seconds of a window; 1 to charge what is left at most; for each window its limit and the units.
Returns 1 if they were charged, the milliseconds left of the window, and for each one the units of the previous window
and of the current one, before the charge.
"""

RENEW = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local id, lease = ARGV[1], tonumber(ARGV[2])
local stored = redis.call('HGETALL', KEYS[1])
local others = {}
for i = 1, #stored, 2 do
  if stored[i] ~= id then
    local fields = {}
    for field in string.gmatch(stored[i + 1], '%S+') do
      fields[#fields + 1] = tonumber(field)
    end
    if fields[1] < now then
      redis.call('HDEL', KEYS[1], stored[i])
    else
      others[#others + 1] = fields
    end
  end
end
local count = #others + 1
local reply, mine = {count}, {now + lease}
for at = 3, #ARGV, 3 do
  local total, wanted, running = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local place = #mine + 1
  local wants, granted, sum = {wanted}, 0, wanted
  for _, fields in ipairs(others) do
    local want = fields[place] or 0
    wants[#wants + 1], sum, granted = want, sum + want, granted + (fields[place + 1] or 0)
  end
  local part = 0
  if sum <= total then
    part = wanted + math.floor((total - sum) / count)
  else
    table.sort(wants)
    local rest = total
    for i, want in ipairs(wants) do
      local even = math.floor(rest / (count - i + 1))
      if want > even then
        part = math.min(wanted, even)
        break
      end
      rest = rest - want
    end
  end
  part = math.max(1, math.min(part, total - granted))
  reply[#reply + 1] = part
  mine[place], mine[place + 1] = wanted, math.max(part, running)
end
redis.call('HSET', KEYS[1], id, table.concat(mine, ' '))
redis.call('PEXPIRE', KEYS[1], 10 * lease)
return reply
"""
"""Renew the part of all permits that a replica holds.

KEYS: the replicas. ARGV: the replica; the milliseconds for which it holds them; for each kind the permits in all, those
that it wants, and those in use now. Wants that are not too many together are granted, and what is left is divided
equally; else the largest wants are cut to one size (max-min fairness). No more is granted than the others have given
back, except one for each replica. Returns the number of replicas, and the part of each kind.
"""

LEAVE = """
return redis.call('HDEL', KEYS[1], ARGV[1])
"""
"""Give back what a replica holds. KEYS: the replicas. ARGV: the replica."""

ENTER_STREAM = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local id, lease, limit, held = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local stored = redis.call('HGETALL', KEYS[1])
local others = 0
for i = 1, #stored, 2 do
  if stored[i] ~= id then
    local expiry, count = string.match(stored[i + 1], '(%d+) (%d+)')
    if tonumber(expiry) < now then
      redis.call('HDEL', KEYS[1], stored[i])
    else
      others = others + tonumber(count)
    end
  end
end
if limit > 0 and others + held > limit then
  return 0
end
if held == 0 then
  return redis.call('HDEL', KEYS[1], id)
end
redis.call('HSET', KEYS[1], id, string.format('%d %d', now + lease, held))
redis.call('PEXPIRE', KEYS[1], 10 * lease)
return 1
"""
"""Count a tenant's streams of a replica, if all of them are within the limit.

KEYS: the streams of the tenant. ARGV: the replica; the milliseconds until it has to renew them; the limit, 0 to renew
them; how many streams of the tenant the replica has. Returns 1 if they are counted.
"""
