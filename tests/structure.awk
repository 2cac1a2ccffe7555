# The order of SRC in the Makefile is the layering: a file includes only headers of what stands before it.
# A file X_y.c may include X.h, which its family shares. A header X.h belongs to X.c, to the first X_*.c, or (config_table.h) to the file it is a part of.
# usage: awk -f tests/structure.awk Makefile lib/*.c lib/*.h
function own(name,    i) {
    if (name in rank)
        return rank[name]
    for (i = 1; i <= n; i++)
        if (index(order[i], name "_") == 1)
            return i
    for (i = n; i >= 1; i--)
        if (index(name, order[i] "_") == 1)
            return i
    return 0
}
function say(text) {
    printf "%s:%d: %s\n", FILENAME, FNR, text
    bad = 1
}
FNR == NR {
    if (/^SRC *:?=/)
        on = 1
    for (i = 1; on && i <= NF; i++)
        if ($i ~ /^lib\/.*\.c$/) {
            s = $i; sub(/.*\//, "", s); sub(/\.c$/, "", s)
            rank[s] = ++n; order[n] = s
        }
    if (on && !/\\$/)
        on = 0
    next
}
FNR == 1 { me = FILENAME; sub(/.*\//, "", me); sub(/\.[ch]$/, "", me); depth = start = 0 }
FNR == 501 { say("longer than 500 lines") }
length($0) > 100 { say("longer than 100 columns") }
/^#include "/ {
    inc = $2; gsub(/"|\.h/, "", inc)
    if (inc != me && inc != "list" && index(me, inc "_") != 1 && (!own(inc) || !own(me) || own(inc) > own(me)))
        say(me " may not include " inc)
}
/^#include <hiredis/ && me !~ /^redis_(link|tls|reply)$/ { say(me " may not know hiredis") }
/^#if(def|ndef)? / && !/_H$/ && own(me) > own("json") { say("conditional code above the ground floor") }
/^{/ { start = FNR }
/^}/ { if (start && FNR - start > 61) say("a function longer than 60 lines"); start = 0 }
END { exit bad }
