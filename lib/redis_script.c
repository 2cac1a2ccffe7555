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
 * Redis's Lua hashes each byte of each string that it makes, a third of what calls would cost: an
 * event is one string as it comes and one as it goes out, and the latter is kept. */
static const char append[] =
    "local stream, state, mark, latest = KEYS[1], KEYS[2], KEYS[3], KEYS[4]\n"
    "local after, first = tonumber(ARGV[1]), tonumber(ARGV[2])\n"
    "local count = (#ARGV - 5) / 2\n"
    "local done = tonumber(redis.call('GET', mark) or '0')\n"
    "if after > done then\n"
    "  return redis.error_reply('ORDER an event before these is missing')\n"
    "end\n"
    "local last = redis.call('HGET', state, 'last')\n"
    "if not last then\n"
    "  local top = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]\n"
    "  last = top and top[1] or '0-0'\n"
    "end\n"
    "local ms, n = string.match(last, '^(%d+)%-(%d+)$')\n"
    "local clock = redis.call('TIME')\n"
    "local now = clock[1] * 1000 + math.floor(clock[2] / 1000)\n"
    "if now > tonumber(ms) then ms = string.format('%.0f', now) end\n"
    "n = tonumber(n)\n"
    "redis.call('SET', mark, string.format('%.0f', math.max(done, first + count - 1)),\n"
    "           'PX', ARGV[3])\n"
    "local reply, newest, before, failed = {ms, n}, {}, n, nil\n"
    /* %d is much quicker, but no wider than a long of the server's */
    "local shape = n + count < 2147483647 and '%s-%d' or '%s-%.0f'\n"
    "for i = 1, count do\n"
    "  local result = -1\n"
    "  if first + i - 1 > done then\n"
    "    local channel, event = ARGV[4 + 2 * i], ARGV[5 + 2 * i]\n"
    "    local id = string.format(shape, ms, n + 1)\n"
    "    event = event .. (failed and '}' or ',\"position\":\"' .. id .. '\"}')\n"
    "    result = redis.pcall('PUBLISH', channel, event)\n"
    "    if type(result) == 'table' then\n"
    "      result = result.err\n"
    "    else\n"
    "      local kept = failed or redis.pcall('XADD', stream, id, 'c', channel, 'e', event)\n"
    "      if type(kept) == 'table' then\n"
    "        failed = kept\n"
    "        result = 'KEEP ' .. kept.err\n"
    "      else\n"
    "        n = n + 1\n"
    "        newest[channel] = id\n"
    "      end\n"
    "    end\n"
    "  end\n"
    "  reply[i + 2] = result\n"
    "end\n"
    "if n > before then\n"
    "  redis.pcall('HSET', state, 'last', ms .. '-' .. string.format('%.0f', n))\n"
    "  for channel, id in pairs(newest) do redis.pcall('HSET', latest, channel, id) end\n"
    "  redis.pcall('XTRIM', stream, 'MAXLEN', '~', ARGV[4])\n"
    "  if done == 0 then\n"
    "    for _, key in ipairs({stream, state, latest}) do\n"
    "      redis.pcall('PEXPIRE', key, ARGV[3])\n"
    "    end\n"
    "  end\n"
    "  if math.floor(n / 256) > math.floor(before / 256) then\n"
    "    local bytes = redis.pcall('MEMORY', 'USAGE', stream)\n"
    "    if type(bytes) == 'number' and bytes > tonumber(ARGV[5]) then\n"
    "      local length = redis.call('XLEN', stream)\n"
    "      redis.pcall('XTRIM', stream, 'MAXLEN',\n"
    "          math.floor(length * tonumber(ARGV[5]) / bytes))\n"
    "    end\n"
    "  end\n"
    "end\n"
    "return reply\n";

/* Trims by age, keeps the keys alive, forgets the latest of channels whose event is gone: a part at
 * a time, as long as half of it is old, for types may be as many as events. */
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
    "local known = redis.call('HMGET', state, 'epoch', 'last')\n"
    "redis.pcall('XTRIM', stream, 'MINID', string.format('%.0f', now - ARGV[3]))\n"
    "local about, info = redis.pcall('XINFO', 'STREAM', stream), {}\n"
    "for i = 1, #about, 2 do info[about[i]] = about[i + 1] end\n"
    "local first = info['first-entry']\n"
    "local total = tonumber(string.match(known[2] or '0-0', '%d+$'))\n"
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
    "        info['length'] or -1, now, math.max(0, total - added)}\n";

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

/* The number outlives the lease, so that it rises; where it was flushed, the clock and what the
 * asker knows do for it. Who held it before that goes on; whoever else has heard of a holder waits
 * (careful): the holder's lease may still last. */
static const char lease[] =
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

static const struct {
    const char *text;
    size_t length;
} scripts[EVB_SCRIPTS] = {
    [EVB_SCRIPT_APPEND] = {append, sizeof append - 1},
    [EVB_SCRIPT_FENCE] = {fence, sizeof fence - 1},
    [EVB_SCRIPT_READ] = {read, sizeof read - 1},
    [EVB_SCRIPT_CURSOR] = {cursor, sizeof cursor - 1},
    [EVB_SCRIPT_LEASE] = {lease, sizeof lease - 1},
};

/* SHA1 is how Redis names scripts (redis.io/commands/evalsha). */
void evb_scripts_init(struct evb_scripts *all)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length;
    memset(all, 0, sizeof *all);
    for (size_t n = 0; n < EVB_SCRIPTS; n++)
        if (EVP_Digest(scripts[n].text, scripts[n].length, digest, &length, EVP_sha1(), NULL) == 1)
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
        evb_script_word(out, scripts[script].text, scripts[script].length);
    else
        evb_script_word(out, digest, 40);
}
