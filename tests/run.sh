#!/usr/bin/env bash
# Runs test programs: B=build tests/run.sh NAME... Each is build/NAME, a Check program, or tests/NAME.sh, a
# script that ends with such a line itself. At the end what failed is said once more, and one line: "N passed, N
# failed". A program that crashes, hangs or reports nothing counts as one failed test.
# EVB_TEST_TIMEOUT: seconds a program may take (300).
set -u

B=${B:-build}
limit=${EVB_TEST_TIMEOUT:-300}
log=$(mktemp) || exit 1
said=$(mktemp) || exit 1
trap 'rm -f "$log" "$said"' EXIT
passed=0
failed=0
bad=''

for name in "$@"; do
    echo "== $name"
    start=$(date +%s%N)
    program=$B/$name
    [ -e "$program" ] || program=tests/$name.sh
    timeout --kill-after=10 "$limit" "$program" </dev/null 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    took=$((($(date +%s%N) - start) / 1000000))
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
    if [ "$wrong" -ne 0 ] || [ "$status" -ne 0 ]; then
        bad="$bad $name"
        echo "== $name" >>"$said"
        grep -E '^[^ ]+:[0-9]+:[FE]:|^FAILED' "$log" >>"$said" || tail -n 20 "$log" >>"$said"
        [ "$status" -eq 124 ] || [ "$status" -eq 137 ] && echo "== $name: stopped after $limit s"
    fi
    passed=$((passed + checks - wrong))
    failed=$((failed + wrong))
    printf '== %s: %d.%03d s, exit %d\n' "$name" $((took / 1000)) $((took % 1000)) "$status"
done

[ -z "$bad" ] || { echo && cat "$said" && echo "failed:$bad"; }
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
