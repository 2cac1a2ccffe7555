/* redis_script_group.c - the scripts that members of groups run. Loop only. */
#include "redis_script.h"

/* A group that has vanished is made anew from the stream's beginning, for publishers may have been
 * there first. */
static const char member[] =
    "local registry, stream, bell = KEYS[1], KEYS[2], KEYS[3]\n"
    "local channel, name, group = ARGV[1], ARGV[2], '" EVB_GROUP "'\n"
    "for _, need in ipairs(redis.acl_check_cmd and {\n"
    "    {'time', 'TIME'}, {'hget', 'HGET', registry, 'f'}, {'hset', 'HSET', registry, 'f', '1'},\n"
    "    {'xgroup|create', 'XGROUP', 'CREATE', stream, group, '0', 'MKSTREAM'},\n"
    "    {'xgroup|delconsumer', 'XGROUP', 'DELCONSUMER', stream, group, 'c'},\n"
    "    {'xreadgroup', 'XREADGROUP', 'GROUP', group, 'c', 'STREAMS', stream, '>'},\n"
    "    {'xack', 'XACK', stream, group, '1-1'}, {'xdel', 'XDEL', stream, '1-1'},\n"
    "    {'xadd', 'XADD', stream, '*', 'e', ''}, {'xrange', 'XRANGE', stream, '-', '+'},\n"
    "    {'xpending', 'XPENDING', stream, group},\n"
    "    {'xclaim', 'XCLAIM', stream, group, 'c', '0', '1-1'},\n"
    "    {'xinfo|consumers', 'XINFO', 'CONSUMERS', stream, group},\n"
    "    {'xinfo|groups', 'XINFO', 'GROUPS', stream}, {'xinfo|stream', 'XINFO', 'STREAM', "
    "stream},\n"
    "    {'pexpire', 'PEXPIRE', stream, '1'}, {'publish', 'PUBLISH', ARGV[4], ''}} or {}) do\n"
    "  if not redis.acl_check_cmd(unpack(need, 2)) then\n"
    "    return redis.error_reply('NOPERM the user needs +' .. need[1] .. ' for ' ..\n"
    "        (need[1] == 'publish' and ARGV[4] or stream))\n"
    "  end\n"
    "end\n"
    "local clock = redis.call('TIME')\n"
    "local now = clock[1] * 1000 + math.floor(clock[2] / 1000)\n"
    "local all, there = {}, 0\n"
    "local text = redis.call('HGET', registry, channel) or ''\n"
    "for other, till in string.gmatch(text, '([^ =]+)=(%d+)') do\n"
    "  if other == name then there = 1 else all[#all + 1] = other .. '=' .. till end\n"
    "end\n"
    "all[#all + 1] = name .. '=' .. string.format('%.0f', now + ARGV[3])\n"
    "redis.call('HSET', registry, '', '1', channel, table.concat(all, ' '))\n"
    "local made = redis.pcall('XGROUP', 'CREATE', stream, group, '0', 'MKSTREAM')\n"
    "if made.err and not string.find(made.err, 'BUSYGROUP') then return made end\n"
    "redis.pcall('XGROUP', 'CREATE', bell, group, '$', 'MKSTREAM')\n"
    "redis.call('PEXPIRE', bell, ARGV[5])\n"
    "redis.call('PEXPIRE', stream, string.format('%.0f', 2 * ARGV[3] + 60000))\n"
    "if there == 0 then redis.call('PUBLISH', ARGV[4], channel) end\n"
    "local about, info = redis.call('XINFO', 'STREAM', stream), {}\n"
    "for i = 1, #about, 2 do info[about[i]] = about[i + 1] end\n"
    "return {there, made.err and 0 or 1, info['last-generated-id'], info['entries-added'] or -1}\n";

static const char settle[] =
    "local n = redis.call('XACK', KEYS[1], '" EVB_GROUP "', unpack(ARGV))\n"
    "redis.call('XDEL', KEYS[1], unpack(ARGV))\n"
    "return n\n";

/* To whoever reads next, as an entry of its own; unless it is settled. */
#define AGAIN                                                                                      \
    "local function again(id, more)\n"                                                             \
    "  local entry = redis.call('XRANGE', KEYS[1], id, id)[1]\n"                                   \
    "  if redis.call('XACK', KEYS[1], '" EVB_GROUP "', id) == 0 or not entry then return 0 end\n"  \
    "  redis.call('XADD', KEYS[1], '*', 'e', entry[2][2], 'a', (entry[2][4] or 0) + more)\n"       \
    "  redis.call('XDEL', KEYS[1], id)\n"                                                          \
    "  return 1\n"                                                                                 \
    "end\n"

static const char requeue[] =
    AGAIN "local n = 0\n"
          "for i = 1, #ARGV, 2 do n = n + again(ARGV[i], ARGV[i + 1]) end\n"
          "return n\n";

/* Some that were given out are in nobody's hand: somebody has deleted a consumer, or Redis started
 * with a broken log. Nobody would ever get them.
 * A consumer with nothing in hand may go: Redis makes it again if it was only slow. */
static const char takeover[] = AGAIN
    "local n, gone, idle = 0, 0, tonumber(ARGV[1])\n"
    "for _, one in ipairs(redis.call('XPENDING', KEYS[1], '" EVB_GROUP "', 'IDLE', ARGV[1], '-',\n"
    "                                '+', ARGV[2])) do\n"
    "  n = n + again(one[1], 1)\n"
    "end\n"
    "for _, about in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do\n"
    "  local one = {}\n"
    "  for i = 1, #about, 2 do one[about[i]] = about[i + 1] end\n"
    "  local some = one.name == '" EVB_GROUP "' and redis.call('XRANGE', KEYS[1], '-',\n"
    "      one['last-delivered-id'], 'COUNT', ARGV[2]) or {}\n"
    "  for _, entry in ipairs(some) do\n"
    "    local id = entry[1]\n"
    "    if #redis.call('XPENDING', KEYS[1], '" EVB_GROUP "', id, id, 1) == 0 then\n"
    "      redis.call('XADD', KEYS[1], '*', 'e', entry[2][2], 'a', entry[2][4] or 0)\n"
    "      redis.call('XDEL', KEYS[1], id)\n"
    "      n = n + 1\n"
    "    end\n"
    "  end\n"
    "end\n"
    "for _, about in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], '" EVB_GROUP "')) do\n"
    "  local one = {}\n"
    "  for i = 1, #about, 2 do one[about[i]] = about[i + 1] end\n"
    "  if one.pending == 0 and (one.idle >= 2 * idle or one.name == ARGV[3]) then\n"
    "    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], '" EVB_GROUP "', one.name)\n"
    "    gone = gone + 1\n"
    "  end\n"
    "end\n"
    "return {n, gone}\n";

static const char forget[] =
    "local registry, reply, cursor = KEYS[1], {}, '0'\n"
    "local clock = redis.call('TIME')\n"
    "local now = clock[1] * 1000 + math.floor(clock[2] / 1000) - ARGV[2]\n"
    "repeat\n"
    "  local some = redis.call('HSCAN', registry, cursor, 'COUNT', 100)\n"
    "  cursor = some[1]\n"
    "  for i = 1, #some[2], 2 do\n"
    "    local channel, left, over = some[2][i], {}, {}\n"
    "    for name, till in string.gmatch(some[2][i + 1], '([^ =]+)=(%d+)') do\n"
    "      local list = tonumber(till) < now and over or left\n"
    "      list[#list + 1] = list == over and name or name .. '=' .. till\n"
    "    end\n"
    "    for _, name in ipairs(over) do\n"
    "      local key = registry .. ':' .. name .. ':' .. channel\n"
    "      reply[#reply + 1], reply[#reply + 2] = channel, name\n"
    "      reply[#reply + 1] = redis.call('XLEN', key)\n"
    "      redis.call('PEXPIRE', key, 0)\n"
    "    end\n"
    "    if #over > 0 and #left > 0 then\n"
    "      redis.call('HSET', registry, channel, table.concat(left, ' '))\n"
    "    elseif #over > 0 then\n"
    "      redis.call('HDEL', registry, channel)\n"
    "    end\n"
    "  end\n"
    "until cursor == '0'\n"
    "if #reply > 0 then redis.call('PUBLISH', ARGV[1], '') end\n"
    "return reply\n";

const struct evb_script_text evb_script_member = {member, sizeof member - 1};
const struct evb_script_text evb_script_settle = {settle, sizeof settle - 1};
const struct evb_script_text evb_script_requeue = {requeue, sizeof requeue - 1};
const struct evb_script_text evb_script_takeover = {takeover, sizeof takeover - 1};
const struct evb_script_text evb_script_forget = {forget, sizeof forget - 1};
