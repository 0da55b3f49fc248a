-- KEYS[1]: a stream. ARGV[1]: how many entries it keeps when it has no group; empty for all.
-- Answers its length, the id of the last entry it ever had, and the id below which every group has acknowledged
-- everything (nil without a group). What is below that is trimmed; without a group, what is beyond the bound.

local function field(pairs, name)
    for i = 1, #pairs, 2 do
        if pairs[i] == name then
            return pairs[i + 1]
        end
    end
end

-- Milliseconds and number of an id; both are far below 2^53, so they are exact.
local function parts(id)
    local millis, number = string.match(id, '^(%d+)-(%d+)$')
    return tonumber(millis), tonumber(number)
end

local function is_less(a, b)
    local a_millis, a_number = parts(a)
    local b_millis, b_number = parts(b)
    return a_millis < b_millis or (a_millis == b_millis and a_number < b_number)
end

local stream = KEYS[1]
if redis.call('EXISTS', stream) == 0 then
    return {0, '0-0', false}
end
local last = field(redis.call('XINFO', 'STREAM', stream), 'last-generated-id')
local below = false
for _, group in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local millis, number = string.match(field(group, 'last-delivered-id'), '^(%d+)-(%d+)$')
    local open = millis .. '-' .. string.format('%.0f', tonumber(number) + 1)
    if field(group, 'pending') > 0 then
        open = redis.call('XPENDING', stream, field(group, 'name'))[2]
    end
    if not below or is_less(open, below) then
        below = open
    end
end
if below then
    redis.call('XTRIM', stream, 'MINID', below)
elseif ARGV[1] ~= '' then
    redis.call('XTRIM', stream, 'MAXLEN', ARGV[1])
end
return {redis.call('XLEN', stream), last, below}
