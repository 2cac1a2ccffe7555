/* redis_script.c - the scripts. Loop only. */
#include "redis_script.h"
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

/* What may be refused (memory, disk, replicas, a replica's role) is refused at the first write,
 * before anything has happened: Redis lets a script that has written run to its end. Where an event
 * cannot be kept for all that, those behind it get no position: two would have the same. A node's
 * first call keeps the keys from living for ever if no fence follows.
 * The newest entry that was let go is noted: by its number, and as old as the one behind it, for
 * nobody has looked at it.
 * What the stream takes is asked when a sixteenth of what it may take was added since.
 * The numbers that were refused stay beside the mark until their answer has come: if it was lost,
 * the next one tells the same.
 * Redis's Lua hashes each byte of each string that it makes, a third of what calls would cost: an
 * event is one string as it comes and one as it goes out, and the latter is kept.
 * What is not kept goes this way because its publisher knows that its type has groups: if this user
 * may not see which, they do not have it.
 * The mark moves last: Redis 7.0, killed while it writes a transaction to its log, runs the part
 * that it had written when it starts a second time. What is there twice then can be told, what only
 * the mark knows of would be lost. */
static const char append[] =
    "local stream, state, mark, latest = KEYS[1], KEYS[2], KEYS[3], KEYS[4]\n"
    "local after, first, told = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])\n"
    "local base, more = 6 + 4 * ARGV[7], nil\n"
    "local count = (#ARGV - base - 1) / 2\n"
    "for i = 8, base + 1, 4 do\n"
    "  more = more or {}\n"
    "  more[tonumber(ARGV[i])] = i\n"
    "end\n"
    "local text = redis.call('GET', mark) or '0'\n"
    "local done, numbers, why, refused = tonumber(text), '', nil, nil\n"
    "if not done then\n"
    "  local all\n"
    "  done, all, why = string.match(text, '^(%d+)|([%d,]+)|(.*)$')\n"
    "  done, refused = tonumber(done), {}\n"
    "  for number in string.gmatch(all, '%d+') do\n"
    "    if tonumber(number) > told then\n"
    "      numbers, refused[tonumber(number)] = numbers .. number .. ',', true\n"
    "    end\n"
    "  end\n"
    "end\n"
    "local function mark_of(number)\n"
    "  number = string.format('%.0f', number)\n"
    "  return numbers == '' and number or number .. '|' .. numbers .. '|' .. why\n"
    "end\n"
    "if after > done then\n"
    "  return redis.error_reply('ORDER an event before these is missing')\n"
    "end\n"
    "local past = redis.call('HMGET', state, 'last', 'added')\n"
    "local last, added = past[1], tonumber(past[2] or 0)\n"
    "if not last then\n"
    "  local top = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]\n"
    "  last = top and top[1] or '0-0'\n"
    "end\n"
    "local ms, n = string.match(last, '^(%d+)%-(%d+)$')\n"
    "local clock = redis.call('TIME')\n"
    "local now = clock[1] * 1000 + math.floor(clock[2] / 1000)\n"
    "if now > tonumber(ms) then ms = string.format('%.0f', now) end\n"
    "n = tonumber(n)\n"
    "redis.call('SET', mark, mark_of(done), 'PX', ARGV[4])\n"
    "local reply, newest, before, failed = {ms, n}, {}, n, nil\n"
    "local groups = redis.pcall('HGET', KEYS[5], '')\n"
    "local known, hidden = groups == '1' and {} or nil, type(groups) == 'table' and groups.err\n"
    "local function hand_out(channel, event)\n"
    "  local to, missed = known[channel], nil\n"
    "  if not to then\n"
    "    to = {}\n"
    "    local names = redis.pcall('HGET', KEYS[5], channel)\n"
    "    for name in string.gmatch(type(names) == 'string' and names or '', '([^ =]+)=') do\n"
    "      to[#to + 1] = KEYS[5] .. ':' .. name .. ':' .. channel\n"
    "    end\n"
    "    known[channel] = to\n"
    "  end\n"
    "  for _, key in ipairs(to) do\n"
    "    local added = redis.pcall('XADD', key, '*', 'e', event)\n"
    "    missed = type(added) == 'table' and added.err or missed\n"
    "  end\n"
    "  return missed\n"
    "end\n"
    /* %d is much quicker, but no wider than a long of the server's */
    "local shape = n + count < 2147483647 and '%s-%d' or '%s-%.0f'\n"
    "for i = 1, count do\n"
    "  local result, number, extra = -1, first + i - 1, more and more[i]\n"
    "  local key, id = extra and ARGV[extra + 2] or '', extra and ARGV[extra + 3]\n"
    "  if number <= done then\n"
    "    if refused and refused[number] then result = why end\n"
    "  elseif key == '' or #redis.call('XPENDING', key, '" EVB_GROUP "', id, id, 1) > 0 then\n"
    "    local channel, event = ARGV[base + 2 * i], ARGV[base + 1 + 2 * i]\n"
    "    local stays = extra and ARGV[extra + 1] == 'no'\n"
    "    local at = string.format(shape, ms, n + 1)\n"
    "    event = event .. ((failed or stays) and '}' or ',\"position\":\"' .. at .. '\"}')\n"
    "    result = redis.pcall('PUBLISH', channel, event)\n"
    "    if type(result) == 'table' then\n"
    "      result = result.err\n"
    "      numbers, why = numbers .. string.format('%.0f,', number), result\n"
    "    else\n"
    "      local missed = known and hand_out(channel, event) or\n"
    "          stays and key == '' and hidden\n"
    "      local kept = not stays and\n"
    "          (failed or redis.pcall('XADD', stream, at, 'c', channel, 'e', event))\n"
    "      if type(kept) == 'table' then\n"
    "        failed = kept\n"
    "        result = missed and 'LOST ' .. missed or 'KEEP ' .. kept.err\n"
    "      else\n"
    "        if kept then\n"
    "          n = n + 1\n"
    "          added = added + #event\n"
    "          newest[channel] = at\n"
    "        end\n"
    "        result = missed and 'GROUP ' .. missed or result\n"
    "      end\n"
    "      if key ~= '' then\n"
    "        redis.call('XACK', key, '" EVB_GROUP "', id)\n"
    "        redis.call('XDEL', key, id)\n"
    "      end\n"
    "    end\n"
    "  end\n"
    "  reply[i + 2] = result\n"
    "end\n"
    "if first + count - 1 > done then\n"
    "  redis.pcall('SET', mark, mark_of(first + count - 1), 'PX', ARGV[4])\n"
    "end\n"
    "if n > before then\n"
    "  for channel, id in pairs(newest) do redis.pcall('HSET', latest, channel, id) end\n"
    "  local most, trimmed = tonumber(ARGV[6]), 0\n"
    "  if math.floor(n / 16) > math.floor(before / 16) then\n"
    "    trimmed = redis.pcall('XTRIM', stream, 'MAXLEN', '~', ARGV[5])\n"
    "  end\n"
    "  added = added + 128 * (n - before)\n"
    "  if added >= most / 16 then\n"
    "    added = 0\n"
    "    local bytes = redis.pcall('MEMORY', 'USAGE', stream)\n"
    "    if type(bytes) == 'number' and bytes > most then\n"
    "      local length = redis.call('XLEN', stream)\n"
    "      trimmed = redis.pcall('XTRIM', stream, 'MAXLEN', math.floor(length * most / bytes))\n"
    "    end\n"
    "  end\n"
    "  if trimmed ~= 0 then\n"
    "    local about, oldest = redis.pcall('XINFO', 'STREAM', stream), {}\n"
    "    for i = 1, #about, 2 do\n"
    "      if about[i] == 'first-entry' then oldest = about[i + 1] or {} end\n"
    "    end\n"
    "    local at, above = string.match(oldest[1] or ms .. '-' .. n + 1, '^(%d+)%-(%d+)$')\n"
    "    redis.pcall('HSET', state, 'gone', at .. '-' .. string.format('%.0f', above - 1))\n"
    "  end\n"
    "  redis.pcall('HSET', state, 'last', string.format(shape, ms, n),\n"
    "              'added', string.format('%d', added))\n"
    "  if done == 0 then\n"
    "    for _, key in ipairs({stream, state, latest}) do\n"
    "      redis.pcall('PEXPIRE', key, ARGV[4])\n"
    "    end\n"
    "  end\n"
    "end\n"
    "return reply\n";

/* Trims by age, keeps the keys alive, forgets the latest of channels whose event is gone: a part at
 * a time, as long as half of it is old, for types may be as many as events.
 * Redis that was killed in the midst of a call may have run a part of it when it started again: the
 * stream knows then what the state does not. */
static const char fence[] =
    "local stream, state, latest = KEYS[1], KEYS[2], KEYS[3]\n"
    /* What is refused later goes unnoticed. Redis can tell before since 7.0. */
    "for _, need in ipairs(redis.acl_check_cmd and {\n"
    "    {'time', 'TIME'}, {'get', 'GET', state}, {'set', 'SET', state, '1'},\n"
    "    {'hget', 'HGET', state, 'f'}, {'hmget', 'HMGET', state, 'f'},\n"
    "    {'hset', 'HSET', state, 'f', '1'}, {'hsetnx', 'HSETNX', state, 'f', '1'},\n"
    "    {'hdel', 'HDEL', state, 'f'}, {'hscan', 'HSCAN', state, '0'},\n"
    "    {'pexpire', 'PEXPIRE', state, '1'}, {'xadd', 'XADD', stream, '1-1', 'c', 'e'},\n"
    "    {'xlen', 'XLEN', stream}, {'xrevrange', 'XREVRANGE', stream, '+', '-'},\n"
    "    {'xtrim', 'XTRIM', stream, 'MAXLEN', '1'}, {'xinfo|stream', 'XINFO', 'STREAM', stream},\n"
    "    {'memory|usage', 'MEMORY', 'USAGE', stream}} or {}) do\n"
    "  if not redis.acl_check_cmd(unpack(need, 2)) then\n"
    "    return redis.error_reply('NOPERM the user needs +' .. need[1] .. ' for ' .. stream)\n"
    "  end\n"
    "end\n"
    "local clock = redis.call('TIME')\n"
    "local now = clock[1] * 1000 + math.floor(clock[2] / 1000)\n"
    "redis.pcall('HSETNX', state, 'epoch', clock[1] .. '.' .. clock[2])\n"
    "local known = redis.call('HMGET', state, 'epoch', 'last', 'gone')\n"
    "local limit = string.format('%.0f-0', now - ARGV[3])\n"
    "local old = redis.pcall('XREVRANGE', stream, '(' .. limit, '-', 'COUNT', 1)[1]\n"
    "if old then\n"
    "  redis.pcall('XTRIM', stream, 'MINID', limit)\n"
    "  redis.pcall('HSET', state, 'gone', old[1])\n"
    "  known[3] = old[1]\n"
    "end\n"
    "local about, info = redis.pcall('XINFO', 'STREAM', stream), {}\n"
    "for i = 1, #about, 2 do info[about[i]] = about[i + 1] end\n"
    "local first, newest = info['first-entry'], info['last-entry']\n"
    "local total = tonumber(string.match(known[2] or '0-0', '%d+$'))\n"
    "local counted = newest and tonumber(string.match(newest[1], '%d+$')) or 0\n"
    "if counted > total then\n"
    "  known[2], total = newest[1], counted\n"
    "  redis.pcall('HSET', state, 'last', newest[1])\n"
    "end\n"
    "local added = info['entries-added'] or info['length'] and total or 0\n"
    "local oldest = first and tonumber(string.match(first[1], '^%d+')) or now\n"
    "local cursor = redis.call('HGET', state, 'scan') or '0'\n"
    "for _ = 1, 64 do\n"
    "  local some, old = redis.pcall('HSCAN', latest, cursor, 'COUNT', 64), {}\n"
    "  if not some[2] then break end\n"
    "  cursor = some[1]\n"
    "  for i = 1, #some[2], 2 do\n"
    "    if tonumber(string.match(some[2][i + 1], '^%d+')) < oldest then\n"
    "      old[#old + 1] = some[2][i]\n"
    "    end\n"
    "  end\n"
    "  for _, channel in ipairs(old) do redis.pcall('HDEL', latest, channel) end\n"
    "  if cursor == '0' or 4 * #old < #some[2] then break end\n"
    "end\n"
    "redis.pcall('HSET', state, 'scan', cursor)\n"
    "for _, key in ipairs(KEYS) do redis.pcall('PEXPIRE', key, ARGV[4]) end\n"
    "local heard = redis.pcall('PUBLISH', ARGV[1], ARGV[2])\n"
    "if type(heard) == 'table' then heard = heard.err end\n"
    "return {heard, known[1] or '', known[2] or '0-0', first and first[1] or '',\n"
    "        info['length'] or -1, now, math.max(0, total - added), known[3] or '0-0'}\n";

/* Stops at the bytes, too, for events may be large; one at least. What is read from the stream at
 * once is what is likely to fit. */
static const char read[] =
    "local stream, from, back, till = KEYS[1], ARGV[1], tonumber(ARGV[2]) < 0, ARGV[3]\n"
    "local most, room = tonumber(ARGV[4]), tonumber(ARGV[5])\n"
    "local known = back and {} or redis.call('HMGET', KEYS[2], 'epoch', 'last')\n"
    "local total = tonumber(string.match(known[2] or '0-0', '%d+$'))\n"
    "local before = tonumber(string.match(from, '%d+$') or '0')\n"
    "local reply = {'end', known[1] or '', known[2] or '0-0', 0}\n"
    "local at, page, spent, entries = 4, 2, 0\n"
    "repeat\n"
    "  page = math.min(most, page)\n"
    "  entries = redis.call(back and 'XREVRANGE' or 'XRANGE', stream, from, till, 'COUNT', page)\n"
    "  for _, entry in ipairs(entries) do\n"
    "    local id, channel, event = entry[1], entry[2][2] or '', entry[2][4] or ''\n"
    "    if room <= 0 then reply[1] = 'more' break end\n"
    "    reply[at + 1], reply[at + 2], reply[at + 3] = id, channel, event\n"
    "    at = at + 3\n"
    "    local size = #channel + #event + 64\n"
    "    room, spent = room - size, spent + size\n"
    "    from = '(' .. id\n"
    "  end\n"
    "  most = most - page\n"
    "  if #entries == page and most <= 0 then reply[1] = 'more' end\n"
    "  if #entries < page or reply[1] == 'more' then break end\n"
    "  page = math.max(1, math.min(128, math.floor(room * (at - 4) / 3 / spent)))\n"
    "until false\n"
    "local first = reply[5] and tonumber(string.match(reply[5], '%d+$')) or total + 1\n"
    "if not back and first ~= before + 1 then\n"
    "  local about, added = redis.pcall('XINFO', 'STREAM', stream), 0\n"
    "  for i = 1, #about, 2 do\n"
    "    if about[i] == 'entries-added' then added = about[i + 1] end\n"
    "  end\n"
    "  if about.err or added > 0 then reply[4] = math.max(0, total - added) end\n"
    "end\n"
    "return reply\n";

static const char cursor[] =
    "local key, owner, place, epoch = KEYS[1], ARGV[1], ARGV[2], ARGV[3]\n"
    "local clock = redis.call('TIME')\n"
    "local now = clock[1] * 1000 + math.floor(clock[2] / 1000)\n"
    "local known = redis.call('HMGET', key, 'owner', 'until', 'place', 'epoch')\n"
    "local left = tonumber(known[2] or '0') - now\n"
    "if known[1] and known[1] ~= owner and left > 0 then\n"
    "  return {0, known[1], string.format('%.0f', left)}\n"
    "end\n"
    "if place ~= '' then\n"
    "  redis.call('HSET', key, 'place', place, 'epoch', epoch)\n"
    "else\n"
    "  place, epoch = known[3] or '', known[4] or ''\n"
    "end\n"
    "if ARGV[4] == 'leave' then\n"
    "  redis.call('HDEL', key, 'owner', 'until')\n"
    "else\n"
    "  redis.call('HSET', key, 'owner', owner, 'until', string.format('%.0f', now + ARGV[5]))\n"
    "end\n"
    "redis.call('PEXPIRE', key, ARGV[6])\n"
    "return {1, place, epoch}\n";

static const char lease[] =
    "local key, verb, owner, ms = KEYS[1], ARGV[1], ARGV[2], ARGV[3]\n"
    "local there = redis.call('GET', key)\n"
    "if there and there ~= owner then\n"
    "  return {there == 'done' and 2 or 0, there, redis.call('PTTL', key)}\n"
    "end\n"
    "if verb == 'release' then\n"
    "  if there then redis.call('DEL', key) end\n"
    "else\n"
    "  redis.call('SET', key, verb == 'done' and 'done' or owner, 'PX', ms)\n"
    "end\n"
    "return {1, there or '', 0}\n";

/* The number outlives the lease, so that it rises; where it was flushed, the clock and what the
 * asker knows do for it. Who held it before that goes on; whoever else has heard of a holder waits
 * (careful): the holder's lease may still last. */
static const char leader[] =
    "local lease, waiting, owner, mode = KEYS[1], KEYS[2], ARGV[1], ARGV[2]\n"
    "local ttl = tonumber(ARGV[3])\n"
    "local clock = redis.call('TIME')\n"
    "local now = clock[1] * 1000 + math.floor(clock[2] / 1000)\n"
    "local known = redis.call('HMGET', lease, 'owner', 'until', 'fence', 'renewed')\n"
    "local holder, left = known[1], tonumber(known[2] or '0') - now\n"
    "local fence = tonumber(known[3] or '0')\n"
    "if holder and holder ~= owner and left > 0 then\n"
    "  redis.call('ZREMRANGEBYSCORE', waiting, '-inf', now)\n"
    "  redis.call('ZADD', waiting, now + left + ttl, ARGV[6])\n"
    "  redis.call('PEXPIRE', waiting, left + ttl)\n"
    "  return {0, holder, fence, left}\n"
    "end\n"
    "if mode == 'leave' and holder ~= owner then return {0, '', fence, 0} end\n"
    "if mode == 'look' and holder ~= owner then return {0, '', fence, ttl} end\n"
    "if mode == 'careful' and not known[3] then return {0, '', 0, ttl} end\n"
    "local goes_on = holder == owner or mode == 'stay' and not known[3]\n"
    "if holder ~= owner then fence = math.max(fence + 1, now, ARGV[5] + 1) end\n"
    "local reply = {goes_on and 1 or 2, fence, goes_on and 0 or tonumber(known[4] or '0')}\n"
    "if mode == 'leave' then\n"
    "  redis.call('HDEL', lease, 'owner', 'until')\n"
    "else\n"
    "  redis.call('HSET', lease, 'owner', owner, 'until', string.format('%.0f', now + ttl),\n"
    "             'fence', string.format('%.0f', fence), 'renewed', string.format('%.0f', now))\n"
    "end\n"
    "for i = 8, #ARGV, 2 do\n"
    "  local field, place = 'place:' .. ARGV[i], ARGV[i + 1]\n"
    "  if goes_on and place ~= '' then\n"
    "    redis.call('HSET', lease, field, place)\n"
    "  else\n"
    "    place = redis.call('HGET', lease, field) or ''\n"
    "  end\n"
    "  reply[#reply + 1] = place\n"
    "end\n"
    "redis.call('PEXPIRE', lease, ARGV[4])\n"
    "if mode == 'leave' then\n"
    "  for _, channel in ipairs(redis.call('ZRANGE', waiting, 0, -1)) do\n"
    "    redis.pcall('PUBLISH', channel, ARGV[7])\n"
    "  end\n"
    "  redis.call('DEL', waiting)\n"
    "end\n"
    "return reply\n";

#define TEXT(script)                                                                               \
    &(const struct evb_script_text)                                                                \
    {                                                                                              \
        script, sizeof script - 1                                                                  \
    }

static const struct evb_script_text *const scripts[EVB_SCRIPTS] = {
    [EVB_SCRIPT_APPEND] = TEXT(append),
    [EVB_SCRIPT_FENCE] = TEXT(fence),
    [EVB_SCRIPT_READ] = TEXT(read),
    [EVB_SCRIPT_CURSOR] = TEXT(cursor),
    [EVB_SCRIPT_LEASE] = TEXT(lease),
    [EVB_SCRIPT_LEADER] = TEXT(leader),
    [EVB_SCRIPT_MEMBER] = &evb_script_member,
    [EVB_SCRIPT_SETTLE] = &evb_script_settle,
    [EVB_SCRIPT_REQUEUE] = &evb_script_requeue,
    [EVB_SCRIPT_TAKEOVER] = &evb_script_takeover,
    [EVB_SCRIPT_FORGET] = &evb_script_forget,
};

/* SHA1 is how Redis names scripts (redis.io/commands/evalsha). */
void evb_scripts_init(struct evb_scripts *all)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length;
    memset(all, 0, sizeof *all);
    for (size_t n = 0; n < EVB_SCRIPTS; n++)
        if (EVP_Digest(scripts[n]->text, scripts[n]->length, digest, &length, EVP_sha1(), NULL) ==
            1)
            for (unsigned i = 0; i < 20; i++)
                snprintf(all->digest[n] + 2 * i, 3, "%02x", digest[i]);
}

void evb_script_word(struct evb_buf *out, const char *text, size_t length)
{
    evb_buf_printf(out, "$%zu\r\n", length);
    evb_buf_add(out, text, length);
    evb_buf_add(out, "\r\n", 2);
}

void evb_script_number(struct evb_buf *out, int64_t number)
{
    char text[24];
    evb_script_word(out, text, (size_t)snprintf(text, sizeof text, "%" PRId64, number));
}

void evb_script_begin(const struct evb_scripts *all, struct evb_buf *out, enum evb_script script,
                      bool whole, size_t args)
{
    const char *digest = all->digest[script];
    whole = whole || !digest[0];
    evb_buf_printf(out, "*%zu\r\n", args + 2);
    if (whole)
        evb_script_word(out, "EVAL", 4);
    else
        evb_script_word(out, "EVALSHA", 7);
    if (whole)
        evb_script_word(out, scripts[script]->text, scripts[script]->length);
    else
        evb_script_word(out, digest, 40);
}
