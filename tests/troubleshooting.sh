#!/usr/bin/env bash
# evbus_troubleshooting(7) is true: the command lines that it shows are understood, what it says they print is
# printed by the runs below, what else it quotes stands in the code. B is the build folder.
set -u
B=$(cd "${B:-build}" && pwd)
page=man/evbus_troubleshooting.7
work=$(mktemp -d) || exit 1
trap 'exec 2>/dev/null; kill -9 $(jobs -p); wait; rm -rf "$work"' EXIT
seen=$work/seen # every line that a run printed, normalised
unset "${!EVBUS_@}" "${!REDIS_@}" REDISCLI_AUTH ENABLE_REDIS_EVENTS EVENT_CHANNEL_PREFIX SERVICE_NAME LOG_LEVEL OTEL_SERVICE_NAME

. tests/harness/check.sh

# Times, ids, numbers, addresses, and which connection fails first differ from run to run.
normalise() {
    sed -E 's/[0-9]{4}-[0-9]{2}-[0-9T:.-]+Z/TIME/g; s/[0-9a-f]{8}-[0-9a-f-]{27}|\b[0-9a-f]{16}\b/ID/g
        s/^(redis +)[^,]+, /\1ADDRESS, /; s/(publisher|subscriber) connection/LINK connection/; s/[0-9]+(\.[0-9]+)?/N/g; s/[ \t\r]+/ /g; s/ $//'
}

run() { # run STATUS COMMAND...: its lines are seen
    local want=$1 status
    shift
    timeout 20 "$@" >"$work/run" 2>&1 </dev/null
    status=$?
    normalise <"$work/run" >>"$seen"
    if [ "$status" -ne "$want" ]; then
        printf 'FAILED: exit %d, not %d: %s\n' "$status" "$want" "$*"
        head -20 "$work/run"
        failed=$((failed + 1))
    else
        passed=$((passed + 1))
    fi
}

until_true() { # until_true COMMAND...: at most 15 s
    local end=$((SECONDS + 15))
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || { echo "FAILED: not within 15 s: $*" && failed=$((failed + 1)) && return 1; }
        sleep 0.02
    done
}

start_server() { # start_server NAME LINE...: a redis-server on $work/NAME; its pid in $server
    local name=$1
    shift
    printf '%s\n' 'port 0' "unixsocket $work/$name" "dir $work" 'save ""' "$@" >"$work/$name.conf"
    redis-server "$work/$name.conf" >"$work/$name.log" 2>&1 &
    server=$!
    until_true sh -c "redis-cli -s $work/$name ping | grep -E 'PONG|NOAUTH'"
}

end_server() { # end_server PID
    kill -9 "$1" && wait "$1" 2>/dev/null
}

start_sub() { # start_sub ARGUMENT...: evbus in the background, until it listens; its pid in $sub
    : >"$work/sub"
    timeout 60 "$B/evbus" "$@" >"$work/sub" 2>&1 </dev/null &
    sub=$!
    until_true grep -q listening "$work/sub"
}

end_sub() {
    kill -TERM "$sub" 2>/dev/null
    wait "$sub" 2>/dev/null
    normalise <"$work/sub" >>"$seen"
}

# ---- what the page shows ----

blocks() { # the lines of its literal blocks
    awk '/^\.Bd -literal/ { on = 1; next } /^\.Ed/ { on = 0 } on' $page | sed 's/^\\&//; s/\\e/\\/g'
}

commands() { # each on a line, without "$ "
    {
        blocks | awk 'more || /^\$ / { printf "%s", $0; more = /\\$/; if (!more) print "" }' | sed 's/\\ */ /g'
        sed -n 's/^\.Dl //p' $page | grep '^\$ '
        sed -nE 's/^\.(Pq )?Ql (evbus [a-z].*[a-z])( [.,;:])?$/$ \2/p' $page
    } | sed 's/^\$ //'
}

evbus_commands() { # the arguments of each
    commands | sed -E "s/ \| /\n/g" | sed -nE 's/^([A-Z_]+=[^ ]* )*evbus //p'
}

outputs() { # lines of the blocks that are neither commands nor their continuation nor settings
    blocks | awk '{ command = more || /^\$ / } { more = command && /\\$/ } !command' | grep -vE '^(\.\.\.|TLS: |[a-z.]+ += )'
    blocks | grep -E '^bus\.mode += '
    blocks | sed -n 's/^TLS: /reason LINK connection: &/p'
}

sentences() { # the library's, shown without a command
    sed -n 's/^\.Dl //p' $page | grep -v '^\$ '
    awk '/^\.Ss/ { on = /Connection refused|password is refused|TLS fails/ } on && /^\.It [A-Za-z]/' $page | sed 's/^\.It //; s/, /\n/g'
}

code() { # every file as one line, literals joined
    cat lib/*.c lib/*.h examples/evbus/*.c | tr '\n' ' ' | sed 's/" *"//g'
}

# ---- checks ----

commands_parse() {
    local line bad=0
    [ "$(evbus_commands | wc -l)" -gt 25 ] || { echo 'too few commands found: this test is blind' && return 1; }
    while IFS= read -r line; do
        eval "set -- $line"
        "$B/evbus" "$@" --help >"$work/help" 2>&1 </dev/null || { echo "evbus $line: $(head -1 "$work/help")" && bad=1; }
    done < <(evbus_commands | sort -u)
    return $bad
}

outputs_seen() {
    local line pattern bad=0
    [ "$(outputs | wc -l)" -gt 40 ] || { echo 'too few outputs found: this test is blind' && return 1; }
    while IFS= read -r line; do
        # " ..." stands for what was left out
        pattern=$(printf '%s\n' "$line" | sed -E 's/[][\\.*^$+?(){}|]/\\&/g; s/ \\\.\\\.\\\./.*/g')
        grep -qxE -e "$pattern" "$seen" || { echo "no run printed: $line" && bad=1; }
    done < <(outputs | normalise | sort -u)
    return $bad
}

sentences_exist() {
    local line part bad=0
    [ "$(sentences | wc -l)" -gt 10 ] || { echo 'too few sentences found: this test is blind' && return 1; }
    code >"$work/code"
    while IFS= read -r line; do
        while IFS= read -r part; do # numbers are %d, or the like, in the code
            grep -qF -e "$part" "$work/code" "$work/raw" "$seen" || { echo "not in the code: $part" && bad=1; }
        done < <(printf '%s\n' "$line" | sed -E 's/ *[0-9]+ */\n/g' | grep .)
    done < <(sentences)
    return $bad
}

names_exist() { # fields and counters (.Va), functions (.Fn), errors (.Dv)
    local name bad=0
    for name in $(sed -nE 's/.*\.?Va ([a-z_]+).*/\1/p' $page | sort -u); do
        grep -qE "\"$name\"|X\($name," lib/report.c lib/metrics.h || { echo "no field or counter $name" && bad=1; }
    done
    for name in $(sed -nE 's/.*\.?(Fn|Dv) (evbus_[a-z_]+|EVBUS_[A-Z_]+).*/\2/p' $page | sort -u); do
        grep -qw "$name" include/evbus.h || { echo "no $name in evbus.h" && bad=1; }
    done
    return $bad
}

# ---- runs ----

without_redis() {
    run 3 "$B/evbus" -p 1 health -W 200ms
    cat "$work/run" >>"$work/raw"
    run 3 "$B/evbus" -p 1 pub -W 200ms task.created
    run 3 "$B/evbus" -s "$work/none" health -W 0
    cat "$work/run" >>"$work/raw"
    run 0 "$B/evbus" config dump
    run 3 env ENABLE_REDIS_EVENTS=false "$B/evbus" health
}

with_redis() {
    local cli="redis-cli -s $work/a"
    start_server a
    run 0 $cli ping
    run 0 "$B/evbus" -s "$work/a" health
    run 0 "$B/evbus" -s "$work/a" pub --wait task.created '{"id":7}'
    start_sub -s "$work/a" sub -v -C 1 'task.*'
    run 0 $cli pubsub numsub evbus:events:task.created
    run 0 $cli pubsub numpat
    run 0 $cli client list type pubsub
    run 0 "$B/evbus" -s "$work/a" pub --wait task.created '{"id":7}'
    until_true grep -q "task.created" "$work/sub"
    end_sub
    run 0 $cli --scan --pattern 'evbus:*'
    run 0 $cli xlen 'evbus:history:{0}'
    run 0 $cli memory usage 'evbus:history:{0}'
    run 0 $cli xrange 'evbus:history:{0}' - + count 1
    for name in maxmemory-policy appendonly appendfsync save; do
        run 0 $cli config get $name
    done
    run 0 $cli info stats
    run 0 $cli config set maxmemory 1
    run 0 $cli config get maxmemory
    run 27 "$B/evbus" -v -s "$work/a" pub -W 1 task.created
    run 0 $cli config set maxmemory 0
    run 0 $cli info memory
    run 0 $cli config get client-output-buffer-limit
    run 0 $cli replicaof 127.0.0.1 1
    run 3 "$B/evbus" -s "$work/a" health -W 300ms
    cat "$work/run" >>"$work/raw"
    run 0 $cli replicaof no one
    run 1 sh -c "seq 20000 | '$B/evbus' -v -s '$work/a' -X outbox.bytes=32KiB pub -l task.done"
    run 1 sh -c "seq 20000 | '$B/evbus' -s '$work/a' -X outbox.bytes=32KiB -X outbox.full=reject pub -l task.done"
    start_sub -v -s "$work/a" -X queue.size=5 sub --exec 'sleep 0.3' 'task.*'
    run 0 sh -c "seq 40 | '$B/evbus' -s '$work/a' pub -l task.done"
    until_true grep -q 'is slow' "$work/sub"
    end_sub
    start_sub -v -s "$work/a" -X queue.size=5 -X queue.full=drop-oldest sub --exec 'sleep 0.3' 'task.*'
    run 0 sh -c "seq 40 | '$B/evbus' -s '$work/a' pub -l task.done"
    until_true grep -q 'events dropped' "$work/sub"
    end_sub
    kill -STOP "$server"
    run 3 "$B/evbus" -s "$work/a" -X redis.connect.timeout=500ms pub -W 900ms task.created
    kill -CONT "$server"
}

outage() {
    start_sub -s "$work/a" sub -v 'task.*'
    end_server "$server"
    rm -f "$work/a"
    until_true grep -q 'No such file' "$work/sub"
    start_server a
    until_true grep -q 'Redis is there' "$work/sub"
    until_true grep -q 'may have been missed' "$work/sub"
    end_sub
}

refusals() {
    local cli="redis-cli -s $work/b -a sesame --no-auth-warning" grant
    start_server b 'requirepass sesame' 'user bob on >pw +@all ~* &evbus:events:ok.* &evbus:inbox:*'
    run 4 "$B/evbus" -s "$work/b" health
    run 4 "$B/evbus" -s "$work/b" -a wrong pub task.created
    run 0 "$B/evbus" -s "$work/b" -a pw --user bob health
    run 4 "$B/evbus" -s "$work/b" -a pw --user bob sub 'order.*'
    run 4 "$B/evbus" -s "$work/b" -a pw --user bob pub --wait order.paid
    run 4 "$B/evbus" -s "$work/b" -a pw --user bob -v pub order.paid
    run 4 "$B/evbus" -s "$work/b" -a pw --user bob -v sub 'order.*'
    run 0 $cli acl dryrun bob publish evbus:events:order.paid 1
    # the user that the page makes can do all, and nothing that it tries is refused
    grant=$(commands | sed -n 's/^redis-cli acl setuser/acl setuser/p')
    run 0 sh -c "$cli $grant"
    run 0 $cli acl log reset
    start_sub -s "$work/b" -a password --user bob -v sub -C 1 task.created 'task.*' '>'
    run 0 "$B/evbus" -s "$work/b" -a password --user bob -v pub --wait task.created
    wait "$sub"
    check 'the user of the page may subscribe' grep -q ' task.created ' "$work/sub"
    check 'Redis refused it nothing' [ -z "$($cli acl log)" ]
    run 0 $cli acl setuser bob resetchannels '&evbus:events:*'
    start_sub -s "$work/b" -a password --user bob -v sub -W 300ms task.created
    until_true grep -qF '&evbus:inbox:*' "$work/sub"
    end_sub
    check 'the right to the inbox is named' grep -qF '&evbus:inbox:*; without it delivery is not proven' "$work/sub"
    run 0 $cli acl setuser bob resetchannels '&*' -evalsha -eval
    start_sub -s "$work/b" -a password --user bob -v sub -W 300ms 'task.*'
    end_sub
    run 0 $cli acl dryrun bob evalsha 0 0
}

certificate() { # certificate NAME DAYS: $work/NAME.pem for redis.internal, signed by $work/ca.pem
    openssl req -new -key "$work/key" -subj /CN=redis.internal |
        openssl x509 -req -CA "$work/ca.pem" -CAkey "$work/key" -CAcreateserial -days "$2" \
            -extfile <(echo subjectAltName=DNS:redis.internal) -out "$work/$1.pem"
}

# What does a server that shows this certificate look like to openssl, and to a bus?
at_server() { # at_server CERTIFICATE COMMAND...: with ADDRESS for the server's
    local name=$1 log=$work/tls.log
    shift
    rm -f "$log"
    openssl s_server -accept 127.0.0.1:0 -www -cert "$work/$name.pem" -key "$work/key" -cert_chain "$work/ca.pem" >"$log" 2>&1 </dev/null &
    local tls=$!
    until_true grep -q ACCEPT "$log"
    run "${@//ADDRESS/$(sed -n 's/^ACCEPT //p' "$log")}"
    kill "$tls"
    wait "$tls" 2>/dev/null
}

certificates() {
    local bus=("$B/evbus" -u rediss://ADDRESS health -W 2)
    if ! command -v openssl >/dev/null; then
        echo 'SKIPPED: openssl is not installed: what is said of certificates is not checked'
        outputs | grep -E '^(Verification|reason .*TLS)' | normalise >>"$seen"
        return
    fi
    {
        openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$work/key"
        openssl req -x509 -key "$work/key" -subj /CN=authority -days 2 -out "$work/ca.pem"
        certificate good 2
        certificate old 0
    } >"$work/openssl.log" 2>&1
    at_server good 0 openssl s_client -connect ADDRESS -CAfile "$work/ca.pem" -verify_hostname redis.internal
    at_server good 0 openssl s_client -connect ADDRESS
    at_server good 0 openssl s_client -connect ADDRESS -CAfile "$work/ca.pem" -verify_hostname redis.example
    at_server old 0 openssl s_client -connect ADDRESS -CAfile "$work/ca.pem"
    at_server good 4 "${bus[@]}"
    at_server good 4 "${bus[@]}" -X tls.ca.file="$work/ca.pem"
    at_server good 4 "${bus[@]}" -X tls.ca.file="$work/ca.pem" -X tls.server.name=redis.example
    at_server old 4 "${bus[@]}" -X tls.ca.file="$work/ca.pem" -X tls.server.name=redis.internal
}

: >"$work/raw"
check 'evbus understands the command lines of the page' commands_parse
without_redis
with_redis
outage
refusals
certificates
check 'what the page shows was printed' outputs_seen
check 'what the page quotes stands in the code' sentences_exist
check 'fields, counters, functions and errors exist' names_exist
summary
