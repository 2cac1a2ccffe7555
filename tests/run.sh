#!/usr/bin/env bash
# Runs test programs: B=build tests/run.sh NAME... Each is build/NAME, a Check program, or tests/NAME.sh, a
# script that ends with such a line itself. At the end what failed is said once more, and one line: "N passed, N
# failed". A program that crashes, hangs or reports nothing counts as one failed test.
# EVB_TEST_TIMEOUT: seconds a program may take (300). EVB_TEST_JOBS: so many run at a time (five on two cores), for most
# of them wait most of the time; what each prints stands together.
set -u

B=${B:-build}
limit=${EVB_TEST_TIMEOUT:-300}
jobs=${EVB_TEST_JOBS:-$(((5 * $(nproc) + 1) / 2))}
logs=$(mktemp -d) || exit 1
trap 'rm -rf "$logs"' EXIT
passed=0
failed=0
bad=''

run() { # NAME, in a shell of its own: what it prints; status and milliseconds
    local program=$B/$1 start pid status
    start=$(date +%s%N)
    [ -e "$program" ] || program=tests/$1.sh
    timeout --kill-after=10 "$limit" "$program" </dev/null >"$logs/$1" 2>&1 &
    pid=$!
    trap 'kill "$pid" 2>/dev/null' TERM
    wait "$pid"
    status=$?
    echo "$status $((($(date +%s%N) - start) / 1000000))" >"$logs/$1.over"
    mv "$logs/$1.over" "$logs/$1.end"
}

judge() { # NAME, whose run is over
    local name=$1 log=$logs/$1 status took counts checks wrong
    read -r status took <"$log.end"
    counts=$(sed -nE 's/^[0-9]+%: Checks: ([0-9]+), Failures: ([0-9]+), Errors: ([0-9]+)$/\1 \2 \3/p
        s/^([0-9]+) passed, ([0-9]+) failed$/\1 \2 sum/p' "$log" |
        awk '$3 == "sum" { print $1 + $2, $2, 0; next } { print }' |
        awk '{ n += $1; bad += $2 + $3 } END { if (NR) print n, bad }')
    checks=${counts% *}
    wrong=${counts#* }
    if [ -z "$counts" ]; then
        checks=1
        wrong=1
    elif [ "$status" -ne 0 ] && [ "$wrong" -eq 0 ]; then
        checks=$((checks + 1))
        wrong=1
    fi
    echo "== $name"
    cat "$log"
    if [ "$wrong" -ne 0 ] || [ "$status" -ne 0 ]; then
        bad="$bad $name"
        [ "$status" -eq 124 ] || [ "$status" -eq 137 ] && echo "== $name: stopped after $limit s"
    fi
    passed=$((passed + checks - wrong))
    failed=$((failed + wrong))
    printf '== %s: %d.%03d s, exit %d\n' "$name" $((took / 1000)) $((took % 1000)) "$status"
}

judge_all() { # whose runs are over
    local end
    for end in "$logs"/*.end; do
        [ -e "$end" ] || continue
        judge "$(basename "$end" .end)"
        rm "$end"
    done
}

# shellcheck disable=SC2046
trap 'kill $(jobs -p) 2>/dev/null; wait; exit 130' INT TERM
running=0
for name in "$@"; do
    if [ "$running" -eq "$jobs" ]; then
        wait -n
        running=$((running - 1))
        judge_all
    fi
    run "$name" &
    running=$((running + 1))
done
wait
judge_all

if [ -n "$bad" ]; then
    for name in $bad; do
        echo "== $name"
        grep -E '^[^ ]+:[0-9]+:[FE]:|^FAILED' "$logs/$name" || tail -n 20 "$logs/$name"
    done
    echo "failed:$bad"
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
