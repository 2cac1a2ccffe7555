#!/usr/bin/env bash
# evbus_config(5) says what the table of settings says, its examples load, and no page names a setting
# that there is not. B is the build folder.
set -u
B=${B:-build}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. tests/harness/check.sh

up_to_date() {
    "$B/gen/config5" man/evbus_config.5.in >"$work/page" &&
        diff man/evbus_config.5 "$work/page" ||
        { echo 'man/evbus_config.5 is older than its template or lib/config_table.h: run "make man"'; false; }
}

groups_have_words() { # .Ss GROUP is followed by a sentence, not by the list
    ! awk '/^\.Sh/ { on = $2 == "SETTINGS" } on && group && /^\.Bl/ { print "no words for " group " in man/config5.c" }
        { group = on && /^\.Ss/ ? $2 : "" }' man/evbus_config.5 | grep .
}

known_keys() { # KEY, EVBUS_VARIABLE and alias, a line each
    "$B/evbus" config | awk '/^[a-z]/ { print $1; print $NF }'
    sed -nE 's/^\.It Ev ([A-Z_]+) Ta Cm .*/\1/p' man/evbus_config.5
}

# What pages call a setting: an argument of .Cm with a dot in it, a line "key = value" of an example, -X key=,
# and `key= in README.md. EVBUS_* of .Ev too, but for evbus(1), which has those of --exec.
named_keys() { # named_keys PAGE
    {
        sed -nE 's/^\.(It )?Cm //p' "$1" | tr -s ' ' '\n' | grep -E '^[a-z]+(\.[a-z]+)+$'
        awk '/^\.Bd -literal/ { on = 1 } /^\.Ed/ { on = 0 } on' "$1" | sed -nE 's/^([a-z]+(\.[a-z]+)+) *= .*/\1/p'
        grep -oE -- '-X ([a-z]+(\.[a-z]+)+)=' "$1" | sed 's/-X //; s/=//'
        [ "$1" = man/evbus.1 ] || sed -nE 's/^\.Ev //p' "$1" | grep -oE 'EVBUS_[A-Z_]+[A-Z]'
        grep -oE '`[a-z]+(\.[a-z]+)+=' "$1" | tr -d '`='
    } | sort -u
}

keys_exist() { # keys_exist PAGE
    local unknown
    unknown=$(named_keys "$1" | grep -vxF -f "$work/known")
    [ -z "$unknown" ] || { printf 'no such setting: %s\n' $unknown && false; }
}

names_something() { # or this test has gone blind
    [ "$(named_keys man/evbus_config.5 | wc -l)" -gt 60 ] && [ "$(named_keys man/evbus_troubleshooting.7 | wc -l)" -gt 20 ]
}

# The settings in EXAMPLES, a file for each of its parts.
examples_load() {
    local file count=0 said
    awk -v work="$work" '/^\.Sh/ { on = $2 == "EXAMPLES" } /^\.Ed/ { block = 0 }
        on && block && / = *|^#/ { print >(work "/example." n) } /^\.Ss/ { n++ }
        /^\.Bd -literal/ { block = 1 }' man/evbus_config.5
    for file in "$work"/example.*; do
        count=$((count + 1))
        said=$(env -i "$B/evbus" -q --config "$file" config dump 2>&1 >"$work/dump") || { echo "$file: $said" && cat "$file" && return 1; }
        grep -q "# $file:" "$work/dump" || { echo "$file says nothing" && return 1; }
    done
    [ "$count" -eq 4 ] || { echo "$count examples, not 4" && false; }
}

known_keys >"$work/known"
check 'man/evbus_config.5 is what the table says' up_to_date
check 'every group of settings has words' groups_have_words
check 'pages name settings' names_something
for page in man/evbus.1 man/evbus.7 man/evbus_config.5 man/evbus_troubleshooting.7 README.md; do
    check "$page names settings that there are" keys_exist "$page"
done
check 'the examples of evbus_config(5) load' examples_load
summary
