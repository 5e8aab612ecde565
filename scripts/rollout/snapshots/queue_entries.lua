-- Take entries out of a list, at once: ARGV holds a word that no entry is, then for each its index, its bytes, and what
-- to put into the quarantine instead (nothing: it is just removed). What is no longer at its index stays.
-- Returns 1 for each entry that it took, else 0.
local gone, taken = ARGV[1], {}
for i = 2, #ARGV, 3 do
  local there = 0
  if redis.call('LINDEX', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    redis.call('LSET', KEYS[1], ARGV[i], gone)
    if ARGV[i + 2] ~= '' then
      redis.call('RPUSH', KEYS[2], ARGV[i + 2])
    end
    there = 1
  end
  taken[#taken + 1] = there
end
redis.call('LREM', KEYS[1], 0, gone)
return taken
