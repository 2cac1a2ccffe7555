/*
 * config_table.h - every setting: X(id, key, kind, choices, min, max, def, secret, aliases, help).
 * Included by config.h (ids) and config.c (rows). min and max bound a number in its unit (bytes,
 * milliseconds, count) or a text's length; aliases are environment variables of other systems, the
 * first that is set wins. A default in <> is made at run time.
 */
#define EVB_REQUEST_TIMEOUT_MOST 86400000 /* a day */
#define EVB_NO_EFFECT            ": accepted, no effect: "

X(BUS_NAME, "bus.name", TEXT, NULL, 1, 128, "<program name>", false,
  "SERVICE_NAME OTEL_SERVICE_NAME", "events' source, metrics' label, name of the Redis clients")
X(BUS_MODE, "bus.mode", CHOICE, "auto|hybrid|local-only|redis-only", 0, 0, "auto", false,
  "ENABLE_REDIS_EVENTS REDIS_ENABLED",
  "auto: hybrid if any redis.* is set, else local-only; true means hybrid, false local-only")
X(KEY_PREFIX, "key.prefix", TEXT, NULL, 0, 128, "evbus:", false, "",
  "begins every key and channel of the library")

X(REDIS_URL, "redis.url", TEXT, NULL, 0, 4096, "", false, "REDIS_URL",
  "redis[s]://[user[:password]@]host[:port][/db] or unix://[user:password@]/path[?db=n]; a whole "
  "address: what it leaves out is the default, not a lower layer's")
X(REDIS_HOST, "redis.host", TEXT, NULL, 1, 255, "127.0.0.1", false, "REDIS_HOST",
  "name or address of the server")
X(REDIS_PORT, "redis.port", INT, NULL, 1, 65535, "6379", false, "REDIS_PORT", "its TCP port")
X(REDIS_DB, "redis.db", INT, NULL, 0, 2147483647, "0", false, "REDIS_DB",
  "database number; it does not separate channels, key.prefix does")
X(REDIS_PATH, "redis.path", TEXT, NULL, 0, 107, "", false, "",
  "Unix socket, instead of host and port")
X(REDIS_USERNAME, "redis.username", TEXT, NULL, 0, 1024, "", false, "REDIS_USERNAME",
  "user of the access list")
X(REDIS_PASSWORD, "redis.password", TEXT, NULL, 0, 65535, "", true, "REDIS_PASSWORD REDISCLI_AUTH",
  "password; empty is none")
X(REDIS_CONNECT_TIMEOUT, "redis.connect.timeout", DURATION, NULL, 1, 3600000, "5s", false, "",
  "longest time for connecting, TLS and logging in")
X(REDIS_PING_INTERVAL, "redis.ping.interval", DURATION, NULL, 1, 3600000, "5s", false, "",
  "how often a link is probed")
X(REDIS_PING_TIMEOUT, "redis.ping.timeout", DURATION, NULL, 1, 3600000, "2s", false, "",
  "a link that is silent so long after a probe is dead")
X(REDIS_POOL_SIZE, "redis.pool.size", INT, NULL, 0, 1000000, "0", false, "",
  "redis.pool.size" EVB_NO_EFFECT "one pipelined connection keeps the order of events")
X(REDIS_MAX_RETRIES, "redis.max.retries", INT, NULL, -1, 1000000, "0", false, "",
  "redis.max.retries" EVB_NO_EFFECT "the outbox sends again what an outage held up")
X(REDIS_PASSWORD_FILE, "redis.password.file", TEXT, NULL, 0, 4096, "", false, "REDIS_PASSWORD_FILE",
  "file that holds the password; read again at each connect")
X(AUTH_PLAINTEXT, "auth.plaintext", BOOL, NULL, 0, 0, "yes", false, "",
  "no: the password never goes to another host without TLS; yes: it does, with a warning")

X(TLS_ENABLED, "tls.enabled", BOOL, NULL, 0, 0, "no", false, "REDIS_SSL REDIS_TLS",
  "TLS to Redis; rediss:// says it too")
X(TLS_CA_FILE, "tls.ca.file", TEXT, NULL, 0, 4096, "", false, "REDIS_TLS_CA",
  "trusted certificates (PEM); with tls.ca.dir empty too: the system's")
X(TLS_CA_DIR, "tls.ca.dir", TEXT, NULL, 0, 4096, "", false, "",
  "directory of trusted certificates, named as openssl rehash does")
X(TLS_CERT_FILE, "tls.cert.file", TEXT, NULL, 0, 4096, "", false, "",
  "own certificate with its chain (PEM), for servers that ask for one")
X(TLS_KEY_FILE, "tls.key.file", TEXT, NULL, 0, 4096, "", false, "",
  "its private key (PEM, without passphrase); empty: in tls.cert.file")
X(TLS_VERIFY, "tls.verify", CHOICE, "full|ca|none", 0, 0, "full", false, "",
  "full: chain and name; ca: chain alone; none: nothing, so that anybody on the way can take "
  "the server's place")
X(TLS_SERVER_NAME, "tls.server.name", TEXT, NULL, 0, 255, "", false, "",
  "the name that the certificate must bear; empty: redis.host")
X(TLS_MIN_VERSION, "tls.min.version", CHOICE, "1.2|1.3", 0, 0, "1.2", false, "",
  "oldest version of TLS that is spoken")

X(RECONNECT_BACKOFF, "reconnect.backoff", DURATION, NULL, 1, 3600000, "100ms", false, "",
  "first wait between attempts; doubles, with full jitter")
X(RECONNECT_BACKOFF_MAX, "reconnect.backoff.max", DURATION, NULL, 1, 86400000, "2s", false, "",
  "longest wait between attempts")
X(RECONNECT_MAX_RETRIES, "reconnect.max.retries", INT, NULL, -1, 2147483647, "-1", false, "",
  "attempts after one that failed, until the bus stays local; -1: for ever")

X(CHANNEL_PREFIX, "channel.prefix", TEXT, NULL, 0, 255, "<key.prefix>events:", false,
  "EVENT_CHANNEL_PREFIX", "stands before the type in a channel's name; empty: bare types")
X(WIRE_FOREIGN, "wire.foreign", CHOICE, "deliver|drop", 0, 0, "deliver", false, "",
  "messages that are no JSON object: deliver as bytes, or drop and count")
X(EVENT_MAX_BYTES, "event.max.bytes", SIZE, NULL, 1, 268435456, "1MiB", false, "",
  "largest data of an event")
X(EVENT_CHECK, "event.check", CHOICE, "remote|always|never", 0, 0, "remote", false, "",
  "which events' data is checked to be JSON")

X(OUTBOX_EVENTS, "outbox.events", INT, NULL, 1, 1000000000, "100000", false, "",
  "events accepted for Redis and not yet answered")
X(OUTBOX_BYTES, "outbox.bytes", SIZE, NULL, 1, 1099511627776, "64MiB", false, "", "their bytes")
X(OUTBOX_AGE, "outbox.age", DURATION, NULL, 1, 2592000000, "60s", false, "",
  "longest wait of an event for Redis")
X(OUTBOX_FULL, "outbox.full", CHOICE, "drop-oldest|drop-newest|reject|off", 0, 0, "drop-oldest",
  false, "", "what gives way; off: nothing is kept while Redis is away")
X(PUBLISH_RESEND, "publish.resend", BOOL, NULL, 0, 0, "yes", false, "",
  "no: events in flight when a link drops are reported UNKNOWN, not sent again")

X(BATCH_EVENTS, "batch.events", INT, NULL, 1, 100000, "100", false, "EVENT_BUS_BATCH_SIZE",
  "events that make a batch full")
X(BATCH_BYTES, "batch.bytes", SIZE, NULL, 1024, 268435456, "256KiB", false, "",
  "data that makes a batch full, at most event.max.bytes: a larger event is a batch of its own")
X(BATCH_INTERVAL, "batch.interval", DURATION, NULL, 1, 86400000, "30s", false,
  "EVENT_BUS_BATCH_INTERVAL_MS",
  "longest wait of a batch for more events; a bare number in EVENT_BUS_BATCH_INTERVAL_MS is "
  "milliseconds")

X(HISTORY_ENABLED, "history.enabled", BOOL, NULL, 0, 0, "yes", false, "",
  "events are kept in a Redis stream, and what an outage cost is read from it")
X(HISTORY_TTL, "history.ttl", DURATION, NULL, 1000, 31536000000, "1h", false, "EVENT_HISTORY_TTL",
  "how long they are kept; a bare number in EVENT_HISTORY_TTL is seconds")
X(HISTORY_MAX_EVENTS, "history.max.events", INT, NULL, 1, 1000000000, "1000000", false, "",
  "how many, about: Redis lets go of them in blocks")
X(HISTORY_MAX_BYTES, "history.max.bytes", SIZE, NULL, 65536, 1099511627776, "256MiB", false, "",
  "Redis's memory for them, about")
X(HISTORY_EXCLUDE, "history.exclude", TEXT, NULL, 0, 4096, "", false, "",
  "patterns of types that are not kept, separated by spaces")

X(GROUP_CONSUMER, "group.consumer", TEXT, NULL, 1, 128, "node", false, "",
  "name of this process among a group's members, for it alone; node: another one each time")
X(GROUP_RECLAIM, "group.reclaim", DURATION, NULL, 100, 86400000, "60s", false, "",
  "what a member has in hand is given to others when it has been silent for so long")
X(GROUP_RETRIES, "group.retries", INT, NULL, 0, 1000000, "5", false, "",
  "how often an event that failed is given out again, before it becomes a dead letter")
X(GROUP_RETRY_DELAY, "group.retry.delay", DURATION, NULL, 0, 86400000, "1s", false, "",
  "wait before that; doubles with each further time, up to an hour")
X(GROUP_TTL, "group.ttl", DURATION, NULL, 1000, 31536000000, "24h", false, "",
  "a group that has had no member for so long is removed, with what waits for it")

X(LEASE_TTL, "lease.ttl", DURATION, NULL, 1000, 3600000, "10s", false, "",
  "how long what somebody holds stays with one that is gone: a leader's name, the place of a "
  "durable "
  "subscription, an event that is claimed")
X(CLAIM_PREFIX, "claim.prefix", TEXT, NULL, 0, 255, "<key.prefix>claim:", false, "",
  "begins the keys of claims")
X(CLAIM_TTL, "claim.ttl", DURATION, NULL, 1000, 31536000000, "5m", false, "",
  "how long evbus_claim() holds a key when the caller does not say; how long it is known at the "
  "least that an event of a subscription with claim= is handled")
X(CLAIM_AWAY, "claim.away", CHOICE, "run|skip|wait", 0, 0, "run", false, "",
  "what a subscription with claim= does with this process's events while Redis is away: handles "
  "them without a claim, drops them, or waits")
X(POLL_INTERVAL, "poll.interval", DURATION, NULL, 10, 86400000, "2s", false, "POLL_INTERVAL",
  "how often subscriptions with poll=yes are polled")
X(RECOVERY_MAX_EVENTS, "recovery.max.events", INT, NULL, 1, 1000000000, "1000000", false, "",
  "most events that are read from the history after an outage; what is beyond is a gap")
X(RECOVERY_MAX_TIME, "recovery.max.time", DURATION, NULL, 1, 86400000, "60s", false, "",
  "longest time that this may take")

X(QUEUE_SIZE, "queue.size", INT, NULL, 1, 100000000, "1000", false, "",
  "events that may wait for a subscription or in a queue")
X(QUEUE_BYTES, "queue.bytes", SIZE, NULL, 1, 1099511627776, "4MiB", false, "", "their bytes")
X(QUEUE_FULL, "queue.full", CHOICE, "drop-oldest|drop-newest|lag", 0, 0, "lag", false, "",
  "what gives way; lag: nothing, what others publish is read from the history when there is room "
  "again (without history drop-oldest)")
X(HISTORY_LOCAL_EVENTS, "history.local.events", INT, NULL, 0, 1000000, "0", false, "",
  "last events kept in this process for evbus_history(), for each of up to 8 threads, 8 MiB each; "
  "0: none")
X(WORKERS, "workers", INT, NULL, 0, 1024, "0", false, "",
  "threads for handlers of deliver=workers, started by the first such subscription; 0: none")
X(DEDUP_WINDOW, "dedup.window", INT, NULL, 0, 16777216, "8192", false, "",
  "ids of foreign events kept to drop their repeats; 0: none")
X(DEDUP_AGE, "dedup.age", DURATION, NULL, 1, 86400000, "120s", false, "", "how long they are kept")

X(REQUEST_TIMEOUT, "request.timeout", DURATION, NULL, 1, EVB_REQUEST_TIMEOUT_MOST, "5s", false, "",
  "how long evbus_request_async() waits for a reply unless its options say so")
X(REQUEST_PENDING, "request.pending", INT, NULL, 1, 100000000, "100000", false, "",
  "requests that may wait for their replies")

X(HEALTH_REQUIRE_REDIS, "health.require.redis", BOOL, NULL, 0, 0, "no", false, "",
  "yes: not ready while Redis is away")
X(CLOSE_TIMEOUT, "close.timeout", DURATION, NULL, 0, 3600000, "5s", false, "",
  "how long closing waits for Redis when the caller does not say")
X(LOG_LEVEL, "log.level", CHOICE, "none|error|warning|info|debug", 0, 0, "warning", false,
  "LOG_LEVEL", "the least important line that is logged")
