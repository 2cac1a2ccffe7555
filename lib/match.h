/*
 * match.h - event types and the patterns over them, here and on Redis's side. Pure; any thread.
 * "task.created"; "task.*" one word; "task.>" one or more; ">" all; "glob:..." a Redis glob.
 * Types under "evbus." match only a pattern that itself begins with "evbus." (as MQTT 5
 * section 4.7.2 has it for $SYS).
 */
#ifndef EVB_MATCH_H
#define EVB_MATCH_H
#include "buf.h"
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

enum evb_pattern_kind { EVB_PATTERN_EXACT, EVB_PATTERN_WORDS, EVB_PATTERN_GLOB };

#define EVB_TYPE_MAX      255
#define EVB_SYSTEM_PREFIX "evbus."

/* 0, or EVBUS_EINVAL with a sentence (bad byte, empty word, too long). */
int evb_type_check(const char *type, size_t length);
static inline bool evb_type_is_system(const char *type, size_t length)
{
    return length >= sizeof EVB_SYSTEM_PREFIX - 1 &&
           memcmp(type, EVB_SYSTEM_PREFIX, sizeof EVB_SYSTEM_PREFIX - 1) == 0;
}

/* Which kind, or EVBUS_EINVAL with a sentence. */
int evb_pattern_check(const char *pattern, size_t length);
/* `pattern` is one that evb_pattern_check() took, glob: in front included. */
bool evb_pattern_matches(const char *pattern, size_t pattern_length, const char *type,
                         size_t length);
/* Patterns separated by spaces: 0, or EVBUS_EINVAL with a sentence; does one of them match? */
int evb_patterns_check(const char *list);
bool evb_patterns_match(const char *list, const char *type, size_t length);
/* Redis's glob (redis.io/commands/psubscribe): ? * [a-z] [^a] backslash. No recursion. */
bool evb_glob_matches(const char *glob, size_t glob_length, const char *text, size_t length);
/* The narrowest channel (exact) or Redis glob that covers the pattern behind the channel prefix. */
void evb_pattern_wire(struct evb_buf *out, const char *prefix, const char *pattern, size_t length);

#endif
