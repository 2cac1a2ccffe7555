/*
 * resp.h - Redis over a bare socket with ready-made bytes: what no client can beat. The frames that
 * are published were captured from libevbus, so that all programs put the same bytes on the wire.
 */
#ifndef BENCH_RESP_H
#define BENCH_RESP_H
#include <stddef.h>
#include <stdint.h>

#define RESP_FRAMES  1000 /* captured, and in a block */
#define RESP_HISTORY "evbus:history:{0}"

enum frames_kind {
    FRAMES_PLAIN,
    FRAMES_KEPT,      /* an XADD to RESP_HISTORY in front of each PUBLISH */
    FRAMES_POSITIONED /* the payload ends with a position in the history */
};

struct frames {  /* PUBLISH commands to PROBE_CHANNEL, one behind the other */
    char *bytes; /* owned */
    size_t length;
    int lines; /* of the replies to one frame */
    size_t payload_at[RESP_FRAMES], payload_length[RESP_FRAMES];
    size_t seq_at[RESP_FRAMES], position_at[RESP_FRAMES];
};

int resp_port(void);    /* of the suite's server */
int resp_connect(void); /* TCP, no delay */
void resp_write(int fd, const char *bytes, size_t length);
void resp_subscribe(int fd, const char *channel); /* and awaits its confirmation */
size_t resp_publish(char *out, size_t room, const char *channel, const char *payload,
                    size_t length);               /* one command */
int64_t resp_number(int fd, const char *command); /* the integer that answers it */
double resp_server_cpu_ns(void);                  /* what the server has used so far */
void resp_clear(void);                            /* all keys of the server, for good */

void frames_capture(int fd, const char *path); /* what a subscribed socket brings, to a file */
void frames_load(struct frames *frames, enum frames_kind kind); /* the captured ones */
void frames_make_bare(struct frames *frames); /* PROBE_DATA bytes without an envelope */
/* Sends count frames (whole blocks) and awaits their replies. seq > 0: numbered anew, rising from
 * it, and so are the positions. */
void frames_pump(struct frames *frames, int fd, int64_t count, uint64_t seq);
/* A process on the server's core that pumps numbered frames once the gate opens: its pid. */
int frames_feeder(int gate[2], int64_t count, enum frames_kind kind);
#endif
