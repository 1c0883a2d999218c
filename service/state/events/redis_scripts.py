"""The Lua scripts of events in Redis: each changes a user's events and the totals of experiments in one step."""

from __future__ import annotations

TOTALS = ("users", "impressions", "clicks", "conversions", "clickers", "converters")
"""What is counted of an experiment's arm."""

# Shared by both scripts: a user's contribution to an arm's totals, in the order of TOTALS.
_TALLY = """
local function totals_of(i, c, v)
    return {i + c + v > 0 and 1 or 0, i, c, v, c > 0 and 1 or 0, v > 0 and 1 or 0}
end
local NAMES = {'users', 'impressions', 'clicks', 'conversions', 'clickers', 'converters'}
local function change(totals, name, before, after)
    for n = 1, 6 do
        if after[n] ~= before[n] then
            redis.call('HINCRBY', totals, name .. ' ' .. NAMES[n], after[n] - before[n])
        end
    end
end
"""
FORGET = (
    _TALLY
    + """
local tallies = redis.call('HGETALL', KEYS[10])
for n = 1, #tallies, 2 do
    local arm, i, c, v = string.match(tallies[n + 1], '(%a+) (%d+) (%d+) (%d+)')
    local name = tallies[n] .. ' ' .. arm
    if redis.call('HEXISTS', KEYS[11], name .. ' about') == 1 then
        change(KEYS[11], name, totals_of(tonumber(i), tonumber(c), tonumber(v)), totals_of(0, 0, 0))
    end
end
redis.call('DEL', KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10])
"""
)
"""Lua: remove all events of a user, and subtract their counts. ``KEYS[6]`` to ``KEYS[11]`` are the user's
:meth:`RedisEvents.keys_of`."""

ADD = (
    _TALLY
    + """
local user, keep, keep_s, most, hour, now = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], ARGV[6]
if redis.call('HGET', KEYS[2], user) == '1' or redis.call('HEXISTS', KEYS[3], user) == 1 then
    return false
end
redis.call('ZADD', KEYS[13], 'NX', string.format('%.0f', (redis.call('GET', KEYS[12]) or 0) + 1), hour)
local function count(experiment, arm, about, counter)
    local name = experiment .. ' ' .. arm
    if redis.call('HSET', KEYS[11], name .. ' about', about) == 1 then
        local all = redis.call('HGETALL', KEYS[11])
        for n = 1, #all, 2 do
            local old = string.match(all[n], '^(%S+ %S+) last$')
            if old and tonumber(all[n + 1]) <= tonumber(now) - keep_s then
                redis.call('HDEL', KEYS[11], old .. ' about', old .. ' last')
                for _, total in ipairs(NAMES) do
                    redis.call('HDEL', KEYS[11], old .. ' ' .. total)
                end
            end
        end
    end
    redis.call('HSET', KEYS[11], name .. ' last', now)
    local known = redis.call('HGET', KEYS[10], experiment) or arm .. ' 0 0 0'
    local _, i, c, v = string.match(known, '(%a+) (%d+) (%d+) (%d+)')
    i, c, v = tonumber(i), tonumber(c), tonumber(v)
    local before = totals_of(i, c, v)
    if counter == 'impressions' then i = i + 1 elseif counter == 'clicks' then c = c + 1 else v = v + 1 end
    change(KEYS[11], name, before, totals_of(i, c, v))
    redis.call('HSET', KEYS[10], experiment, string.format('%s %d %d %d', arm, i, c, v))
end
local added = {}
for n = 7, #ARGV, 8 do
    local id = ARGV[n]
    local fresh = redis.call('HEXISTS', KEYS[6], id) + redis.call('HEXISTS', KEYS[8], id) == 0
    if fresh then
        local number = string.format('%.0f', redis.call('INCR', KEYS[12]))
        local place = ARGV[n + 1] == '1' and 6 or 8
        redis.call('HSET', KEYS[place], id, number .. ' ' .. ARGV[n + 2] .. ' ' .. ARGV[n + 3])
        redis.call('ZADD', KEYS[place + 1], number, id)
        if ARGV[n + 4] ~= '' then
            count(ARGV[n + 4], ARGV[n + 5], ARGV[n + 6], ARGV[n + 7])
        end
    end
    added[#added + 1] = fresh and 1 or 0
end
for place = 6, 8, 2 do
    for _ = most + 1, redis.call('ZCARD', KEYS[place + 1]) do
        redis.call('HDEL', KEYS[place], redis.call('ZPOPMIN', KEYS[place + 1])[1])
    end
end
for place = 6, 10 do
    redis.call('PEXPIRE', KEYS[place], keep)
end
return added
"""
)
"""Lua: store the events of a user whom nothing suppresses, count them, and drop the oldest.

KEYS: opt-outs, erasures, then a user's keys from the 6th on, as above; the last number, and the first of each hour.
ARGV: user, milliseconds and seconds to keep, most of each kind, hour, seconds now; then for each event its id,
whether it is liked, its rating, the rest of its text, and what it counts for: experiment, arm, about it, counter.
"""
