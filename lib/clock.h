/* clock.h - time, its RFC 3339 text, and a way for tests to bring their own clock. Any thread. */
#ifndef EVB_CLOCK_H
#define EVB_CLOCK_H
#include <stddef.h>
#include <stdint.h>

#define EVB_TIME_TEXT 25 /* "2026-01-02T03:04:05.678Z" and NUL */

int64_t evb_clock_us(void);      /* Unix time */
int64_t evb_clock_mono_us(void); /* CLOCK_MONOTONIC */
int64_t evb_clock_mono_ms(void);
int64_t evb_clock_boot_ms(void);  /* CLOCK_BOOTTIME: goes on while the machine sleeps */
int64_t evb_clock_rough_ms(void); /* monotonic, some milliseconds behind, cheap */
int64_t evb_clock_boot_us(void);  /* CLOCK_BOOTTIME: goes on while the machine sleeps */
/* NULL: the real one. mono_us is CLOCK_BOOTTIME too. */
void evb_clock_set(int64_t (*wall_us)(void), int64_t (*mono_us)(void));

/* Years 0000 to 9999; outside them the nearest bound is written. */
void evb_time_write(int64_t unix_us, char out[EVB_TIME_TEXT]);
/* RFC 3339 section 5.6, any fraction and offset. 0, or -1 when it is none. */
int evb_time_read(const char *text, size_t length, int64_t *unix_us);

#endif
