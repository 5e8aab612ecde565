-- For each key: its type, and when it expires in ms since 1970 (-1: never). Before Redis 7.0 that moment is computed
-- from what is left: both clocks are read within one millisecond, or once more.
-- Last, of a sorted set, a digest: the servers' own prints scores in ways that differ between versions and encodings.
local function sorted_set(key)
  local digest, first = '', 0
  repeat
    local chunk = redis.call('ZRANGE', key, first, first + 999, 'WITHSCORES')
    for i = 1, #chunk, 2 do
      local score = string.format('%.17g', tonumber(chunk[i + 1]))
      chunk[i] = #chunk[i] .. ':' .. chunk[i]
      chunk[i + 1] = score
    end
    digest = redis.sha1hex(digest .. table.concat(chunk, ' '))
    first = first + 1000
  until #chunk < 2000
  return digest
end

local facts = {}
for i, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  local at = redis.pcall('PEXPIRETIME', key)
  if type(at) ~= 'number' then
    local before, after, left
    repeat
      before = redis.call('TIME')
      left = redis.call('PTTL', key)
      after = redis.call('TIME')
    until before[1] == after[1] and math.floor(before[2] / 1000) == math.floor(after[2] / 1000)
    at = left < 0 and left or before[1] * 1000 + math.floor(before[2] / 1000) + left
  end
  facts[i] = {kind, at, kind == 'zset' and sorted_set(key) or ''}
end
return facts
