-- Counts an order at a SKU's counter, if there is enough left for it.
-- KEYS: the counter. ARGV: order, quantity.
-- Answers {'open'}, {'admitted', generation} or {'short', left}.
local left, generation, known = unpack(redis.call('hmget', KEYS[1], 'left', 'generation', ARGV[1]))
if not left then
    return {'open'}
end
if known then
    return {'admitted', generation}
end
if tonumber(left) < tonumber(ARGV[2]) then
    return {'short', left}
end
redis.call('hincrby', KEYS[1], 'left', -tonumber(ARGV[2]))
redis.call('hset', KEYS[1], ARGV[1], ARGV[2])
return {'admitted', generation}
