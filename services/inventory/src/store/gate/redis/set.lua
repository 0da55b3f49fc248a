-- Sets a counter to what was seen in the ledger, unless that comes too late: when it is too old by now, or the counter
-- rests on a later version of the item. The counter goes when what was seen is too old.
-- KEYS: the counter. ARGV: available, version, generation, until (microseconds on this server's clock).
local time = redis.call('time')
local remaining = math.floor((tonumber(ARGV[4]) - time[1] * 1000000 - time[2]) / 1000)
local version = redis.call('hget', KEYS[1], 'version')
if remaining <= 0 or (version and tonumber(version) > tonumber(ARGV[2])) then
    return redis.status_reply('LATE')
end
redis.call('del', KEYS[1])
redis.call('hset', KEYS[1], 'left', ARGV[1], 'version', ARGV[2], 'generation', ARGV[3])
redis.call('pexpire', KEYS[1], remaining)
return redis.status_reply('OK')
