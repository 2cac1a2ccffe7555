#!/usr/bin/env bash
# Section 3 of the manual against headers, code and itself. In a page's EXAMPLES the first literal block
# is a program, the second what it prints, and the third, if there is one, what it prints with a Redis
# that EVBUS_REDIS_URL names; "..." there stands for any text. B is the build folder; CC, CPPFLAGS,
# CFLAGS and LDFLAGS are those of the library.
set -u
B=${B:-build}
CC=${CC:-cc}
limit=60 # seconds that an example may run
. tests/harness/check.sh
tmp=$(mktemp -d) || exit 1
server=

clean_up() {
    [ -z "$server" ] || kill "$server" 2>/dev/null
    rm -rf "$tmp"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

same() { diff --label "$1" --label "$2" <(sort -u) <(sort -u <<<"$3"); } # stdin against $3

# ---- functions ----

tight() { sed -E 's/[[:space:]]+/ /g; s/ *([*(),;]) */\1/g; s/^ //'; }

declared() { # NAME PROTOTYPE
    printf '#include <evbus_libevent.h>\n' | "$CC" -E -P -Iinclude -x c - | grep -v '^#' | tr '\n' ' ' |
        sed 's/;/;\n/g' | tight | grep -v '^typedef' | sed -nE 's/^(.*[ *](evbus_[a-z0-9_]+)\(.*\));$/\2 \1/p'
}

synopses() { # NAME PROTOTYPE PAGE, one for each that a page has
    awk '/^\.Sh/ { on = $2 == "SYNOPSIS" }
        !on { next }
        { word = $1; sub(/^[^ ]+ /, ""); gsub(/"/, "") }
        word == ".Ft" { type = $0 }
        word == ".Fo" { name = $0; args = "" }
        word == ".Fa" { args = args (args == "" ? "" : ", ") $0 }
        word == ".Fc" { print name "\t" type " " name "(" args ")\t" FILENAME }' man/*.3 |
        while IFS=$'\t' read -r name prototype page; do
            printf '%s %s\t%s\n' "$name" "$(tight <<<"$prototype")" "$page"
        done
}

names() { # NAME PAGE of the NAME sections
    awk '/^\.Sh/ { on = $2 == "NAME" } on && $1 == ".Nm" && $2 != "evbus" { print $2 "\t" FILENAME }' man/*.3
}

prototypes_agree() { cut -f 1 "$tmp/synopses" | same 'a page' 'a header' "$(cat "$tmp/declared")"; }

documented_once() {
    ! { cut -d ' ' -f 1 "$tmp/synopses" | sort | uniq -d | grep . ||
        names | cut -f 1 | sort | uniq -d | grep .; }
}

names_agree() {
    names | same NAME SYNOPSIS "$(sed -E 's/ .*\t/\t/' "$tmp/synopses")"
}

functions_exist() { # also those that evbus.1 and evbus.7 speak of
    ! grep -onE '\bF[no] "?evbus_[a-z0-9_]+' man/*.[0-9] |
        awk 'NR == FNR { known[$1]; next } !($NF in known)' "$tmp/declared" - | grep .
}

overview_complete() {
    grep -oE '^\.Fn evbus_[a-z0-9_]+' man/evbus.3 | cut -d ' ' -f 2 |
        same evbus.3 'the headers' "$(cut -d ' ' -f 1 "$tmp/declared")"
}

linked() { # man(1) finds every function: by its page's own name, or by a link
    local name page link
    names | while IFS=$'\t' read -r name page; do
        [ "$page" != "man/$name.3" ] || continue
        link=$(cat "$B/man/$name.3") || return 1
        [ "$link" = ".so man3/${page#man/}" ] || { echo "$name: $link"; return 1; }
    done
}

# ---- names of other things ----

constants_exist() { # constants of the headers, or variables of settings; line 2 is the title
    local keys
    keys=$(grep -oE 'X\([A-Z_]+, "[a-z.]+"' lib/config_table.h | sed -E 's/X\(([A-Z_]+),.*/EVBUS_\1/')
    ! grep -onE '\bEVBUS_[A-Z_]+\b[*]?' man/*.3 | grep -vE ':EVBUS_E\*$|^[^:]+:2:' |
        awk 'NR == FNR { known[$1]; next } { split($0, at, ":") } !(at[3] in known)' \
            <(grep -ohE '\bEVBUS_[A-Z_]+\b' include/evbus.h; echo "$keys") - | grep .
}

settings_exist() {
    ! grep -onE '\bCm [a-z]+(\.[a-z]+)+\b' man/*.3 |
        awk 'NR == FNR { known[$1]; next } !($2 in known)' \
            <(sed -nE 's/^X\([A-Z_]+, "([a-z.]+)".*/\1/p' lib/config_table.h) - | grep .
}

parsed() { # parsed ROWS FILE: KEY or KEY=CHOICES of the rows of options that match
    awk -v doors="$1" '/^#define [A-Z]+ +"/ { gsub(/"/, "", $3); choices[$2] = $3 }
        $0 ~ doors && match($0, /\{"[a-z]+", EVB_VALUE_[A-Z]+, ("[^"]*"|[A-Z]+)/) {
            row = substr($0, RSTART + 2, RLENGTH - 2)
            key = row; sub(/".*/, "", key)
            choice = row; sub(/^[^,]*, [A-Z_]+, /, "", choice)
            if (choice in choices) choice = choices[choice]
            gsub(/"/, "", choice)
            print key (row ~ /EVB_VALUE_CHOICE/ ? "=" choice : "")
        }' "$2"
}

options_agree() { # options_agree ROWS FILE PAGE SUBSECTION
    awk -v title="$4" '/^\.S[hs]/ { on = $0 == ".Ss " title }
        on && /^\.It Cm [a-z]+ Ns = / {
            key = $3; choice = / Ar /; sub(/.* Ns Cm /, ""); gsub(/ /, "")
            print key (choice || $0 == "yes|no" ? "" : "=" $0)
        }' "man/$3" | same "$3, $4" 'the table' "$(parsed "$1" "$2")"
}

statistics_agree() {
    awk '/^\.S[hs]/ { on = $2 == "Statistics" } on && /^\.It Cm/ { print $3 }' man/evbus_health.3 |
        same evbus_health.3 'the tables' "$(sed -nE 's/^    X\(([a-z_]+),.*/\1/p' lib/metrics.h
            sed -nE 's/^    \{"([a-z_]+)", gauge_.*/\1/p' lib/report.c)"
}

errors_agree() {
    awk '/^\.It Dv EVBUS_/ { code = $3 }
        code && sub(/^\.Dq /, "") { sub(/ :$/, ""); print code ": " $0; code = "" }' man/evbus_error.3 |
        same evbus_error.3 lib/err.c "$(sed -nE 's/^    \{(EVBUS_[A-Z]+), "(.*)"\},$/\1: \2/p' lib/err.c)"
}

references_exist() {
    local at name section bad=0
    while read -r at name section; do
        [ -e "man/$name.$section" ] || { echo "$at $name($section)"; bad=1; }
    done < <(grep -onE '\bXr evbus[a-z0-9_]* [0-9]' man/*.[0-9])
    return "$bad"
}

sections_there() {
    local page section bad=0
    for page in man/evbus_*.3; do
        for section in NAME SYNOPSIS DESCRIPTION 'RETURN VALUES' EXAMPLES ERRORS 'SEE ALSO'; do
            grep -qx "\.Sh $section" "$page" || { echo "$page has no $section"; bad=1; }
        done
    done
    return "$bad"
}

health_described() { # every key of what the example of evbus_health.3 has printed
    ! grep -oE '"[A-Za-z_]+":' "$tmp/evbus_health.3/out" | tr -d '":' |
        awk 'NR == FNR { if (/^\.S[hs]/) on = $2 == "Health"
                if (on && sub(/^\.(It )?Li /, "")) for (i = 1; i <= NF; i++) known[$i]; next }
            !($1 in known)' man/evbus_health.3 - | grep .
}

# ---- examples ----

packages=$(sed -n 's/^PKGS := //p' Makefile)
# shellcheck disable=SC2086
read -ra compile <<<"$CC ${CPPFLAGS-} ${CFLAGS--O1} $(pkg-config --cflags $packages)"
# shellcheck disable=SC2086
read -ra link <<<"$B/libevbus.a ${LDFLAGS-} $(pkg-config --libs $packages)"

unpack() { # unpack PAGE FOLDER: the literal blocks of EXAMPLES as FOLDER/1.c, 2, 3
    awk -v folder="$2" '/^\.Sh/ { on = $2 == "EXAMPLES" }
        on && /^\.Bd -literal/ { file = folder "/" (++n == 1 ? "1.c" : n); next }
        /^\.Ed/ { file = "" }
        file { sub(/^\\&/, ""); gsub(/\\e/, "\\"); print > file }' "$1"
    [ -s "$2/1.c" ] && [ -s "$2/2" ] || echo 'EXAMPLES has no program, or not what it prints'
}

compare() { # compare WANTED GOT
    local -a want got
    local i glob
    mapfile -t want <"$1"
    mapfile -t got <"$2"
    for ((i = 0; i < ${#want[@]} || i < ${#got[@]}; i++)); do
        glob=$(sed 's/[][*?\\]/\\&/g; s/\.\.\./*/g' <<<"${want[i]-}")
        # shellcheck disable=SC2053
        [[ ${got[i]-} == $glob ]] || printf 'line %d is\n  %s\nnot\n  %s\n' $((i + 1)) "${got[i]-}" "${want[i]-}"
    done
}

run() { # run FOLDER WANTED [VARIABLE=VALUE]
    local status=0
    env -i PATH="$PATH" TMPDIR="$tmp" ${ASAN_OPTIONS+ASAN_OPTIONS="$ASAN_OPTIONS"} \
        ${TSAN_OPTIONS+TSAN_OPTIONS="$TSAN_OPTIONS"} "${@:3}" \
        timeout --kill-after=5 "$limit" "$1/program" >"$1/out" 2>"$1/err" </dev/null || status=$?
    if [ "$status" != 0 ] || [ -s "$1/err" ]; then
        echo "${3-without Redis}: exit $status" && head -n 40 "$1/err"
    fi
    compare "$1/$2" "$1/out"
}

try() { # try PAGE: what is wrong with its example, to FOLDER/wrong
    local folder
    folder=$tmp/$(basename "$1")
    mkdir "$folder"
    {
        unpack "$1" "$folder"
        if "${compile[@]}" -std=c11 -pthread -Wall -Wextra -Werror -Iinclude -o "$folder/program" \
            "$folder/1.c" "${link[@]}"; then
            run "$folder" 2
            [ ! -e "$folder/3" ] || run "$folder" 3 "EVBUS_REDIS_URL=unix://$tmp/redis"
        fi
    } >"$folder/wrong" 2>&1
}

nothing_wrong() { # nothing_wrong PAGE
    local wrong
    wrong=$tmp/$(basename "$1")/wrong
    cat "$wrong" && [ ! -s "$wrong" ]
}

start_redis() { # answers before the examples begin, or does not
    local i
    timeout 280 redis-server --port 0 --unixsocket "$tmp/redis" --dir "$tmp" --save '' --appendonly no \
        >"$tmp/log" 2>&1 &
    server=$!
    for ((i = 0; i < 200; i++)); do
        redis-cli -s "$tmp/redis" ping >"$tmp/ping" 2>&1 && return
        sleep 0.05
    done
    cat "$tmp/log"
}

try_all() { # two at a time, beside the server
    local page jobs=()
    for page in man/*.3; do
        [ "$(jobs -rp | wc -l)" -lt 3 ] || wait -n
        try "$page" &
        jobs+=($!)
    done
    wait "${jobs[@]}"
}

declared | sort >"$tmp/declared"
synopses >"$tmp/synopses"
check 'prototypes are those of the headers' prototypes_agree
check 'every function has one page' documented_once
check 'NAME and SYNOPSIS name the same' names_agree
check 'no function is spoken of that does not exist' functions_exist
check 'evbus.3 lists every function' overview_complete
check 'a page or a link for every function' linked
check 'constants exist' constants_exist
check 'settings exist' settings_exist
check 'options of subscriptions' options_agree '[{](HANDLER|SUBS|HOLDERS), ' lib/sub_options.c evbus_subscribe.3 Options
check 'options of queues' options_agree '[{]HOLDERS, ' lib/sub_options.c evbus_queue.3 'Options of a queue'
check "options of queues' subscriptions" \
    options_agree '[{]SUBS, ' lib/sub_options.c evbus_queue.3 'Options of its subscriptions'
check 'options of queries' options_agree '' lib/query.c evbus_history.3 Query
check 'statistics are those of the code' statistics_agree
check 'errors are those of the code' errors_agree
check 'pages referred to exist' references_exist
check 'pages have their sections' sections_there

start_redis
check 'a redis-server for the examples' redis-cli -s "$tmp/redis" ping
try_all
for page in man/*.3; do
    check "the example of $page" nothing_wrong "$page"
done
check 'health as it is printed is described' health_described
summary
