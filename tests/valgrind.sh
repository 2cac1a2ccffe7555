#!/usr/bin/env bash
# The library as programs use it, under valgrind, which watches what the sanitizers' builds do not: the optimized code,
# and the system's hiredis, libevent, jansson and OpenSSL. No error, nothing lost at the end. B is the build folder.
set -uo pipefail
B=${B:-build}
. tests/harness/check.sh
command -v valgrind >/dev/null || {
    echo 'valgrind is missing: run "make deps-all"'
    exit 1
}
tmp=$(mktemp -d) || exit 1
redis=
trap '[ -z "$redis" ] || kill "$redis"; rm -rf "$tmp"' EXIT

under=(timeout 120 valgrind -q --leak-check=full --show-leak-kinds=definite,indirect,possible --error-exitcode=9)

watched() { "${under[@]}" "$@" 2>"$tmp/said" || { cat "$tmp/said" && false; }; }
says() { # says TEXT PROGRAM...
    local out
    out=$(watched "${@:2}") && diff <(printf '%s\n' "$1") <(printf '%s\n' "$out")
}
tells() { # tells PATTERN PROGRAM...
    watched "${@:2}" >"$tmp/told" && grep -q -e "$1" "$tmp/told" || { cat "$tmp/told" && false; }
}
finds() { # the status is valgrind's own, not the program's
    "${under[@]}" "$1" 2>"$tmp/said"
    [ $? -eq 9 ] && grep -q "$2" "$tmp/said"
}

cat >"$tmp/loses.c" <<'END'
#include <stdlib.h>
int main(void)
{
    return *(volatile char *)malloc(1) == 1;
}
END
"${CC:-cc}" -O0 -g "$tmp/loses.c" -o "$tmp/loses" || exit 1
check 'it sees what is lost' finds "$tmp/loses" 'definitely lost'
check 'hello' says 'task.created {"id":7}' "$B/hello"
check 'own_loop' says "$(printf 'clock.tick {"n":%d}\n' 1 2 3 && echo closed: no error)" "$B/own_loop"
check 'queue_poll' says 'a.b {"x":1}' "$B/queue_poll" <<<'a.b {"x":1}'

redis-server --port 0 --unixsocket "$tmp/s" --dir "$tmp" --save '' >"$tmp/log" &
redis=$!
for _ in {1..200}; do
    [ "$(redis-cli -s "$tmp/s" ping 2>/dev/null)" != PONG ] || break
    sleep 0.05
done
export EVBUS_REDIS_PATH=$tmp/s
check 'evbus pub' watched "$B/evbus" pub a.b '{"x":1}'
check 'evbus health' tells 'mode  *hybrid' "$B/evbus" health
check 'evbus history' tells 'a.b {"x":1}' "$B/evbus" history
check 'replay' tells 'a.b .*{"x":1}' "$B/replay"
summary
