/*
 * open.c - opening a bus, and what it does when its link changes. Opening: any thread; the hooks:
 * loop.
 */
#include "alloc.h"
#include "batch.h"
#include "claim.h"
#include "clock.h"
#include "close.h"
#include "durable.h"
#include "err.h"
#include "fork.h"
#include "group.h"
#include "json.h"
#include "leader.h"
#include "poll.h"
#include "rand.h"
#include "recover.h"
#include "replay.h"
#include "request.h"
#include "route.h"
#include "waiter.h"
#include <evbus_libevent.h>
#include <stdio.h>
#include <string.h>

static void set_mode(struct evbus *bus, int mode, const char *why)
{
    int before = atomic_exchange(&bus->mode, mode);
    if (before == mode)
        return;
    struct evb_buf json;
    evb_buf_init(&json);
    evb_buf_printf(&json, "{\"from\":\"%s\",\"to\":\"%s\",\"reason\":", evbus_mode_name(before),
                   evbus_mode_name(mode));
    evb_json_quote(&json, why, strlen(why));
    evb_buf_char(&json, '}');
    evb_log(&bus->log, EVBUS_LOG_INFO, "%s -> %s (%s)", evbus_mode_name(before),
            evbus_mode_name(mode), why);
    if (!json.failed)
        evb_route_system(bus, "evbus.mode", json.data);
    evb_buf_fini(&json);
}

static void on_redis_state(enum evb_redis_state from, enum evb_redis_state to, const char *why,
                           void *user)
{
    struct evbus *bus = user;
    if (from == EVB_REDIS_READY) {
        evb_interest_lost(bus);
        evb_recover_lost(bus, why);
        evb_durable_lost(bus);
        evb_claims_lost(bus);
        evb_group_lost(bus);
        evb_lease_lost(bus);
        evb_poll_lost(bus);
        if (to != EVB_REDIS_CLOSING)
            set_mode(bus, EVBUS_MODE_DEGRADED, why);
    }
    if (to == EVB_REDIS_BACKOFF)
        evb_recover_away(bus, why);
    if (to != EVB_REDIS_READY)
        return;
    set_mode(bus, bus->redis_only ? EVBUS_MODE_REDIS_ONLY : EVBUS_MODE_HYBRID, why);
    evb_claims_ready(bus);
    evb_poll_ready(bus);
    evb_recover_ready(bus);
    evb_durable_look(bus);
    evb_lease_ready(bus);
    evb_group_ready(bus);
    evb_replay_look(bus);
    if (evb_bus_connected(bus))
        evb_waiter_end_all(&bus->waiters, 0);
}

/* `refusal` NULL: Redis confirmed it. */
static void tell_pattern(struct evbus *bus, const struct evb_via *via, const char *refusal)
{
    EVB_LIST_EACH(&via->entries, node)
    {
        struct evb_entry *entry = evb_container(node, struct evb_entry, via_node);
        struct evb_buf json;
        evb_buf_init(&json);
        evb_buf_text(&json, "{\"pattern\":");
        evb_json_quote(&json, entry->pattern, entry->length);
        if (refusal) {
            evb_buf_text(&json, ",\"reason\":");
            evb_json_quote(&json, refusal, strlen(refusal));
        }
        evb_buf_char(&json, '}');
        if (!json.failed)
            evb_route_system(bus, refusal ? "evbus.refused" : "evbus.subscribed", json.data);
        evb_buf_fini(&json);
    }
}

static void on_decided(const struct evb_topic *topic, void *user)
{
    struct evbus *bus = user;
    const struct evb_via *via = evb_interest_decided(bus, topic);
    bool refused = via && via->wire == EVB_WIRE_REFUSED;
    char right[EVB_RIGHT_TEXT], refusal[EVB_RIGHT_TEXT + 32];
    if (refused) {
        evb_topic_lacks(topic, right, sizeof right);
        snprintf(refusal, sizeof refusal, "the user needs %s", right);
        evb_count(&bus->metrics, EVB_COUNT_refused_subscriptions, 1);
        evb_log(&bus->log, EVBUS_LOG_WARNING, "Redis refuses %s: %s", topic->name, refusal);
    }
    evb_lease_look(bus);
    evb_replay_look(bus);
    if (via)
        tell_pattern(bus, via, refused ? refusal : NULL);
    if (evb_bus_connected(bus))
        evb_waiter_end_all(&bus->waiters, 0);
}

static void on_water(bool high, void *user)
{
    struct evbus *bus = user;
    const struct evb_outbox *outbox = &bus->redis.outbox;
    char json[200];
    snprintf(
        json, sizeof json,
        "{\"level\":\"%s\",\"events\":%lld,\"limit\":%lld,\"bytes\":%lld,\"bytes_limit\":%lld}",
        high ? "high" : "low", (long long)atomic_load(&outbox->owed.events),
        (long long)outbox->max_events, (long long)atomic_load(&outbox->owed.bytes),
        (long long)outbox->max_bytes);
    evb_log(&bus->log, high ? EVBUS_LOG_WARNING : EVBUS_LOG_INFO, "outbox %s: %s",
            high ? "high" : "low", json);
    evb_route_system(bus, "evbus.outbox", json);
}

static void on_inbox(const struct evb_reply *payload, void *user)
{
    if (!evb_lease_inbox(user, payload))
        evb_request_inbox(payload, user);
}

static void on_answers(void *user)
{
    evb_replay_look(user);
}

/* Its events are lost, to a group that has nobody. */
static void on_group_gone(const struct evb_lost_group *group, void *user)
{
    struct evbus *bus = user;
    char reason[200];
    const char *type = group->channel;
    int64_t now_ms = evb_clock_us() / 1000;
    if (strncmp(type, bus->prefix, bus->prefix_length) == 0)
        type += bus->prefix_length;
    evb_log(&bus->log, EVBUS_LOG_INFO, "the group %.64s of %.255s has had no member for group.ttl",
            group->name, type);
    if (group->entries == 0)
        return;
    snprintf(reason, sizeof reason, "the group %.64s had no member for group.ttl and was removed",
             group->name);
    evb_recover_gap(bus, &(struct evb_gap){"group", reason, now_ms, now_ms, group->entries, type});
}

static bool on_idle(void *user)
{
    struct evbus *bus = user;
    return bus->wants_redis && evb_redis_idle(&bus->redis);
}

static void on_stalled(int64_t ms, void *user)
{
    struct evbus *bus = user;
    evb_log(&bus->log, EVBUS_LOG_WARNING,
            "a handler held the loop for %.1f s: nothing was sent, received or delivered there; "
            "give what takes its time to deliver=workers or a queue",
            (double)ms / 1000);
}

static int64_t number(const struct evbus *bus, enum evb_cfg id)
{
    return evb_config_number(bus->config, id);
}

static const char *text(const struct evbus *bus, enum evb_cfg id)
{
    return evb_config_text(bus->config, id);
}

static struct evb_login login_settings(const struct evbus *bus)
{
    return (struct evb_login){.username = text(bus, EVB_CFG_REDIS_USERNAME),
                              .password = text(bus, EVB_CFG_REDIS_PASSWORD),
                              .password_file = text(bus, EVB_CFG_REDIS_PASSWORD_FILE),
                              .client_name = bus->source,
                              .database = (int)number(bus, EVB_CFG_REDIS_DB),
                              .plaintext = number(bus, EVB_CFG_AUTH_PLAINTEXT)};
}

static struct evb_tls_settings tls_settings(const struct evbus *bus)
{
    const char *name = text(bus, EVB_CFG_TLS_SERVER_NAME), *key = text(bus, EVB_CFG_TLS_KEY_FILE);
    const char *cert = text(bus, EVB_CFG_TLS_CERT_FILE);
    return (struct evb_tls_settings){.enabled = number(bus, EVB_CFG_TLS_ENABLED),
                                     .verify = (int)number(bus, EVB_CFG_TLS_VERIFY),
                                     .min_version = (int)number(bus, EVB_CFG_TLS_MIN_VERSION),
                                     .ca_file = text(bus, EVB_CFG_TLS_CA_FILE),
                                     .ca_dir = text(bus, EVB_CFG_TLS_CA_DIR),
                                     .cert_file = cert,
                                     .key_file = key[0] ? key : cert,
                                     .server_name = name[0] ? name : text(bus, EVB_CFG_REDIS_HOST)};
}

static struct evb_stream_settings stream_settings(const struct evbus *bus)
{
    return (struct evb_stream_settings){.enabled = bus->keeps_history,
                                        .key_prefix =
                                            bus->wants_redis ? text(bus, EVB_CFG_KEY_PREFIX) : NULL,
                                        .node = bus->node,
                                        .ttl_ms = number(bus, EVB_CFG_HISTORY_TTL),
                                        .max_events = number(bus, EVB_CFG_HISTORY_MAX_EVENTS),
                                        .max_bytes = number(bus, EVB_CFG_HISTORY_MAX_BYTES)};
}

static struct evb_recovery_settings recovery_settings(const struct evbus *bus)
{
    return (struct evb_recovery_settings){.max_events = number(bus, EVB_CFG_RECOVERY_MAX_EVENTS),
                                          .max_ms = number(bus, EVB_CFG_RECOVERY_MAX_TIME)};
}

static int open_redis(struct evbus *bus)
{
    size_t frame = bus->max_data * 8;
    struct evb_redis_settings set = {.host = text(bus, EVB_CFG_REDIS_HOST),
                                     .path = text(bus, EVB_CFG_REDIS_PATH),
                                     .port = (int)number(bus, EVB_CFG_REDIS_PORT),
                                     .login = login_settings(bus),
                                     .tls = tls_settings(bus),
                                     .inbox = bus->inbox,
                                     .connect_timeout_ms =
                                         number(bus, EVB_CFG_REDIS_CONNECT_TIMEOUT),
                                     .ping_interval_ms = number(bus, EVB_CFG_REDIS_PING_INTERVAL),
                                     .ping_timeout_ms = number(bus, EVB_CFG_REDIS_PING_TIMEOUT),
                                     .backoff_ms = number(bus, EVB_CFG_RECONNECT_BACKOFF),
                                     .backoff_max_ms = number(bus, EVB_CFG_RECONNECT_BACKOFF_MAX),
                                     .max_retries = number(bus, EVB_CFG_RECONNECT_MAX_RETRIES),
                                     .stream = stream_settings(bus),
                                     .recovery = recovery_settings(bus),
                                     .max_frame = frame < (16u << 20) ? 16u << 20 : frame};
    struct evb_outbox *outbox = &bus->redis.outbox;
    outbox->max_events = number(bus, EVB_CFG_OUTBOX_EVENTS);
    outbox->max_bytes = number(bus, EVB_CFG_OUTBOX_BYTES);
    outbox->max_age_ms = number(bus, EVB_CFG_OUTBOX_AGE);
    outbox->full = (int)number(bus, EVB_CFG_OUTBOX_FULL);
    outbox->may_resend = number(bus, EVB_CFG_PUBLISH_RESEND);
    bus->hooks = (struct evb_redis_hooks){on_redis_state, evb_route_message, on_decided, on_water,
                                          on_group_gone,  evb_recover_hooks, on_inbox};
    bus->hooks.recovery.answers = on_answers;
    int rc =
        evb_redis_init(&bus->redis, &set, &bus->loop, &bus->log, &bus->metrics, &bus->hooks, bus);
    return rc == 0 && bus->wants_redis ? evb_redis_load(&bus->redis) : rc;
}

static int read_settings(struct evbus *bus, const evbus_config *config)
{
    uint64_t node;
    bus->config = evb_config_copy(config);
    if (!bus->config)
        return EVBUS_ENOMEM;
    int rc = evb_config_check(bus->config);
    if (rc != 0)
        return rc;
    evb_rand_bytes(&node, sizeof node);
    snprintf(bus->node, sizeof bus->node, "%016llx", (unsigned long long)node);
    bus->source = evb_config_text(bus->config, EVB_CFG_BUS_NAME);
    bus->max_data = (size_t)number(bus, EVB_CFG_EVENT_MAX_BYTES);
    bus->check = (int)number(bus, EVB_CFG_EVENT_CHECK);
    bus->workers.count = (int)number(bus, EVB_CFG_WORKERS);
    bus->take_foreign = number(bus, EVB_CFG_WIRE_FOREIGN) == 0;
    bus->wants_redis = evb_config_wants_redis(bus->config);
    bus->redis_only = bus->wants_redis && number(bus, EVB_CFG_BUS_MODE) == EVB_MODE_REDIS;
    bus->keeps_history = bus->wants_redis && number(bus, EVB_CFG_HISTORY_ENABLED);
    bus->exclude = text(bus, EVB_CFG_HISTORY_EXCLUDE);
    bus->prefix = evb_config_channel_prefix(bus->config);
    struct evb_buf inbox;
    evb_buf_init(&inbox);
    evb_buf_printf(&inbox, "%sinbox:%s", evb_config_text(bus->config, EVB_CFG_KEY_PREFIX),
                   bus->node);
    bus->inbox = evb_buf_take(&inbox);
    if (!bus->prefix || !bus->inbox)
        return evb_fail_memory();
    bus->prefix_length = strlen(bus->prefix);
    evb_log_init(&bus->log, bus->source, (int)number(bus, EVB_CFG_LOG_LEVEL));
    return 0;
}

static void start_job(struct evb_job *job)
{
    struct evb_waiter *starter = evb_waiter_of(job);
    struct evbus *bus = starter->bus;
    const char *ignored;
    for (int i = 0; (ignored = evb_config_ignored(bus->config, i)); i++)
        evb_log(&bus->log, EVBUS_LOG_INFO, "%s", ignored);
    evb_route_system(bus, "evbus.started", "{}");
    if (bus->wants_redis)
        evb_redis_start(&bus->redis);
    evb_waiter_end(starter, 0);
}

static evbus *open_bus(struct event_base *base, const evbus_config *config)
{
    struct evbus *bus = evb_calloc(1, sizeof *bus);
    struct evb_waiter *starter = NULL;
    if (!bus) {
        evb_fail_memory();
        return NULL;
    }
    atomic_init(&bus->refs, 1);
    bus->generation = evb_fork_generation();
    bus->opened_ms = evb_clock_mono_ms();
    bus->opened_us = evb_clock_us();
    bus->loop.wake_fd = -1;
    evb_workers_init(&bus->workers);
    pthread_mutex_init(&bus->queues_lock, NULL);
    evb_fault_init(&bus->redis.fault);
    evb_fault_init(&bus->redis.no_history);
    evb_accumulator_init(&bus->batches);
    evb_list_init(&bus->queues);
    evb_list_init(&bus->waiters);
    evb_list_init(&bus->closers);
    evb_list_init(&bus->histories);
    evb_list_init(&bus->replays);
    evb_list_init(&bus->durables);
    evb_list_init(&bus->leases);
    evb_list_init(&bus->polls);
    evb_list_init(&bus->readers);
    evb_metrics_init(&bus->metrics);
    if (read_settings(bus, config) != 0 ||
        evb_registry_init(&bus->registry, bus->wants_redis, evb_interest_changed, bus) != 0)
        goto fail_early;
    atomic_init(&bus->mode, bus->wants_redis ? EVBUS_MODE_DEGRADED : EVBUS_MODE_LOCAL_ONLY);
    bus->loop.idle = NULL;
    if (evb_loop_init(&bus->loop, base) != 0)
        goto fail_early;
    bus->loop.idle = on_idle;
    bus->loop.stalled = on_stalled;
    bus->loop.user = bus;
    if (evb_seen_init(&bus->seen, (size_t)number(bus, EVB_CFG_DEDUP_WINDOW),
                      number(bus, EVB_CFG_DEDUP_AGE)) != 0 ||
        evb_recent_init(&bus->recent, (uint32_t)number(bus, EVB_CFG_HISTORY_LOCAL_EVENTS)) != 0 ||
        open_redis(bus) != 0 || evb_batch_init(bus) != 0 || evb_requests_init(bus) != 0 ||
        (bus->wants_redis && evb_claims_init(bus) != 0) ||
        !(bus->free_waiter = evb_waiter_new(bus, NULL, NULL, NULL)) ||
        !(starter = evb_waiter_new(bus, start_job, NULL, NULL)))
        goto fail;
    evb_waiter_post(starter);
    if (evb_loop_start(&bus->loop, bus->source) == 0)
        return bus;
fail:
    bus->wants_redis = false; /* what is left in the inbox must not start it */
    if (bus->free_waiter)
        evb_waiter_end(bus->free_waiter, 0);
    evb_bus_teardown(bus);
    return NULL;
fail_early:
    evb_bus_unref(bus);
    return NULL;
}

evbus *evbus_open(const evbus_config *config)
{
    return open_bus(NULL, config);
}

evbus *evbus_open_on(struct event_base *base, const evbus_config *config)
{
    if (base)
        return open_bus(base, config);
    evb_fail(EVBUS_EINVAL, "evbus_open_on: no event base (NULL): evbus_open() brings its own");
    return NULL;
}
