-- KEYS[1]: the fleet's bucket. KEYS[2]: its replicas, by when they leased last.
-- ARGV: permits a second, most permits in the bucket, permits wanted, the replica, after how many milliseconds a silent
-- replica no longer counts.
-- Answers how many permits the replica gets, and how many replicas there are. The clock is the server's.

local per_second, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000

local bucket = redis.call('HMGET', KEYS[1], 'level', 'at')
local level, at = tonumber(bucket[1]) or burst, tonumber(bucket[2]) or now
-- A clock that jumps back fills nothing.
level = math.min(burst, level + math.max(0, now - at) * per_second / 1000)
local granted = math.max(0, math.min(tonumber(ARGV[3]), math.floor(level)))
redis.call('HSET', KEYS[1], 'level', string.format('%.6f', level - granted), 'at', string.format('%.3f', now))

redis.call('ZADD', KEYS[2], now, ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[5])
-- Once the bucket would be full again, it need not be kept.
local kept = math.ceil(burst * 1000 / per_second) + 1000
redis.call('PEXPIRE', KEYS[1], kept)
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return {granted, redis.call('ZCARD', KEYS[2])}
