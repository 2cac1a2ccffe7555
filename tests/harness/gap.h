/* gap.h - what an evbus.gap says. Failures end the test. */
#ifndef HARNESS_GAP_H
#define HARNESS_GAP_H
#include <jansson.h>
#include <stdint.h>

struct gap {
    int64_t from_us, to_us; /* Unix time; both ends of what is told in milliseconds count */
    int64_t count;          /* -1: not known */
    char cause[16];
};

struct gap gap_read(const json_t *json); /* an object with a reason */

#endif
