/*
 * until.h - waiting for a condition with a deadline, never for time to pass. The expect_ forms end
 * the test with what was there instead. All times are multiplied by suite_patience().
 */
#ifndef HARNESS_UNTIL_H
#define HARNESS_UNTIL_H
#include <evbus.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

int64_t now_us(void);                    /* monotonic */
int64_t now_wall_us(void);               /* Unix time */
int64_t time_us_of(const char *rfc3339); /* Unix time of "2026-11-21T02:42:34.309Z"; -1: none */
void nap_us(int64_t us); /* the pace of a publisher; never a way to wait for somebody */

struct wait { /* struct wait w = wait_for(5000); while (!condition && wait_more(&w)); */
    int64_t until_us;
};
struct wait wait_for(int ms);
bool wait_more(struct wait *wait); /* a millisecond later: true, or false when the time is up */

bool until(bool (*condition)(void *arg), void *arg, int ms);
bool until_count(atomic_int *count, int at_least, int ms);

void expect_count(atomic_int *count, int at_least, int ms);
void expect_mode(evbus *bus, int mode, int ms);
/* evbus_stat(bus, name) >= at_least */
void expect_stat(evbus *bus, const char *name, int64_t at_least, int ms);
void expect_connected(evbus *bus, int ms);

#endif
