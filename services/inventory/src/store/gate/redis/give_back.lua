-- Takes back what was counted for an order, once, and only from the generation that counted it: a script that comes late
-- finds another one, or no counter, and changes nothing.
-- KEYS: the counter. ARGV: order, generation.
local generation, quantity = unpack(redis.call('hmget', KEYS[1], 'generation', ARGV[1]))
if quantity and generation == ARGV[2] then
    redis.call('hincrby', KEYS[1], 'left', quantity)
    redis.call('hdel', KEYS[1], ARGV[1])
end
return redis.status_reply('OK')
