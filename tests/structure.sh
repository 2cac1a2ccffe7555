#!/usr/bin/env bash
# The house rules that a machine can hold: layering, lengths, header, exports. B is the build folder.
set -u
B=${B:-build}
CC=${CC:-cc}
CXX=${CXX:-c++}
. tests/harness/check.sh

compiles() { # compiles COMPILER STANDARD LANGUAGE HEADER
    printf '#include <%s>\n' "$4" |
        "$1" -std="$2" -x "$3" -Wall -Wextra -Wpedantic -Werror -Iinclude -fsyntax-only -
}

exports() {
    local declared exported
    declared=$(grep -ohE '\bevbus_[a-z0-9_]+\(' include/*.h | tr -d '(' | sort -u | grep -vE '_fn$')
    exported=$(nm -D --defined-only "$B/libevbus.so" | awk '$2 == "T" {sub(/@.*/, "", $3); print $3}' | sort -u)
    diff <(printf '%s\n' "$declared") <(printf '%s\n' "$exported")
}

writable_globals() { # of the archive: sections .data, .bss and their thread-local kin
    local there
    there=$(objdump -t "$B/libevbus.a" | awk '
        / file format / { file = $1; sub(/\.o:$/, "", file); next }
        { sub(/ \.hidden /, " ") }
        NF > 3 && $(NF - 2) ~ /^(\.t?(data|bss)|\*COM\*)/ && $(NF - 2) !~ /^\.data\.rel\.ro/ &&
        $NF != $(NF - 2) && $(NF - 1) !~ /^0+$/ {
            name = $NF; sub(/\.[0-9]+$/, "", name); sub(/.*\./, "", name)
            print file ".c", name }' | sort -u)
    diff <(awk '!/^#/ { print $1, $2 }' tests/globals.txt | sort) <(printf '%s\n' "$there")
}

globals_explained() {
    ! awk '!/^#/ && NF < 4' tests/globals.txt | grep .
}

nothing_forbidden() { # what a library has no business calling
    ! grep -nE '(^|[^_[:alnum:]>.])(usleep|nanosleep|sleep|abort|exit|printf|puts|signal|sigaction|strcpy|strcat|sprintf|gets|rand|localtime|system)[[:space:]]*\(' lib/*.c lib/*.h |
        grep -vE '^[^:]+:[0-9]+: ?(\*|/\*)'
}

lint_manual() { # style remarks are about pages that are not installed yet
    ! mandoc -Tlint -W warning man/*.[0-9] 2>&1 | grep .
}

sources_listed() {
    diff <(sed -n '/^SRC :=/,/[^\\]$/p' Makefile | grep -oE 'lib/[a-z_0-9]+\.c' | sort) <(printf '%s\n' lib/*.c | sort)
}

tests_for_each() {
    diff <(basename -a -s .c lib/*.c | sort) <(basename -a -s .c tests/test_*.c | sed 's/^test_//' | sort) | grep '^<' |
        sed 's,^< \(.*\),no tests/test_\1.c,'
    [ "${PIPESTATUS[1]}" -ne 0 ]
}

check 'layering, lengths, who knows hiredis' awk -f tests/structure.awk Makefile lib/*.c lib/*.h
check 'every file of lib/ stands in SRC' sources_listed
check 'a test for every file of lib/' tests_for_each
check 'evbus.h alone is C11' compiles "$CC" c11 c evbus.h
check 'evbus.h alone is C++11' compiles "$CXX" c++11 c++ evbus.h
check 'evbus_libevent.h alone is C11' compiles "$CC" c11 c evbus_libevent.h
check 'evbus_libevent.h alone is C++11' compiles "$CXX" c++11 c++ evbus_libevent.h
check 'exports are what the headers declare' exports
check 'no writable globals but those of tests/globals.txt' writable_globals
check 'each of them says why' globals_explained
check 'no call that a library must not make' nothing_forbidden
check 'the manual is lint-clean' lint_manual
summary
