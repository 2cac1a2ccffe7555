#!/usr/bin/env bash
# What `make install` installs, whether a stranger's program can be built from that alone, and how the library and
# the program were linked. B is the build folder, with everything built in it by CC, CFLAGS and CPPFLAGS.
set -uo pipefail
B=$(realpath "${B:-build}")
CC=${CC:-cc}
CXX=${CXX:-c++}
. tests/harness/check.sh
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL
unset DESTDIR PREFIX BINDIR INCLUDEDIR LIBDIR PKGCONFIGDIR MANDIR DOCDIR PKG_CONFIG_PATH LD_LIBRARY_PATH

here=$PWD
tmp=$(realpath "$(mktemp -d)") || exit 1
trap 'chmod -R u+w "$tmp"; rm -rf "$tmp"' EXIT
chmod 755 "$tmp"
dest="$tmp/a folder"
prefix=$tmp/prefix
multiarch=/usr/lib/x86_64-linux-gnu
number=$(awk '/define EVBUS_VERSION_NUMBER/ { print $3 }' include/evbus.h)
version=$((number >> 16)).$((number >> 8 & 255)).$((number & 255))

# A make with which nothing can be compiled, nor a package asked for.
make_only() { make -s B="$B" CC=false AR=false PKG_CONFIG=false "$@"; }
into_dest() { make_only "$@" DESTDIR="$dest" PREFIX=/usr LIBDIR=$multiarch; }
into_prefix() { make_only "$@" PREFIX="$prefix"; }

same() { diff <(printf '%s\n' "$1") <(printf '%s\n' "$2"); }
files() { (cd "$1" && find . ! -type d -printf '%P\n' | sort); }
folders() { find "$1" -type d -printf '%P %m\n' | sort; }
pages() { ls man/*.[1-9] "$B"/man/*.[1-9] 2>/dev/null; }
built() { find "$B/lib" "$B/examples" "$B/evbus" "$B"/libevbus.* -printf '%p %T@ %s\n' | sort; }

expected() { # expected LIBDIR, under a prefix
    local file
    {
        printf '%s\n' bin/evbus include/evbus.h include/evbus_libevent.h "$1/pkgconfig/evbus.pc" \
            "$1"/libevbus.{a,so,so.0,so."$version"}
        for file in $(pages); do echo "share/man/man${file##*.}/${file##*/}"; done
        for file in examples/*.c; do echo "share/doc/libevbus/$file"; done
    } | sort
}

# ---- installing ----

installs() { # installs ROOT LIBDIR COMMAND...: the files that ought to be there are, and may be read
    local root=$1 libdir=$2
    shift 2
    (umask 077 && "$@" install) && same "$(expected "$libdir")" "$(files "$root")" || return
    same "$(readlink "$root/$libdir"/libevbus.so{,.0})" libevbus.so.0$'\n'"libevbus.so.$version" || return
    ! find "$root" \( -type d ! -perm 755 -o -type f ! -perm 644 ! -perm 755 \) -printf '%p %m\n' | grep .
}

installs_again() { # over what is there, and with no opinion about folders that were there
    local before
    chmod 2775 "$prefix/lib" && before=$(folders "$prefix") && into_prefix install &&
        same "$before" "$(folders "$prefix")" && same "$(expected lib)" "$(files "$prefix")"
}

builds_nothing() {
    local before
    before=$(built)
    installs "$dest/usr" "${multiarch#/usr/}" into_dest && installs "$prefix" lib into_prefix &&
        same "$before" "$(built)"
}

contents() {
    local file
    cmp "$B/libevbus.a" "$prefix/lib/libevbus.a" && cmp "$B/libevbus.so" "$prefix/lib/libevbus.so" &&
        cmp "$B/evbus" "$prefix/bin/evbus" || return
    for file in include/*.h; do cmp "$file" "$prefix/$file" || return; done
    for file in $(pages); do cmp "$file" "$prefix/share/man/man${file##*.}/${file##*/}" || return; done
    for file in examples/*.c; do cmp "$file" "$prefix/share/doc/libevbus/$file" || return; done
}

manual_links() { # a page ".so man3/other.3" leads somewhere
    # shellcheck disable=SC2038
    (cd "$prefix/share/man" && find . -type f -exec sed -ns '1s/^\.so //p' {} + | xargs -rd '\n' ls)
}

uninstalls() { # what is other people's stays, and so does what follows by another name
    touch "$prefix/lib/libother.so" "$prefix/share/doc/libevbus/NOTES" "$prefix/share/man/man7/evbus.7.gz"
    into_prefix uninstall && into_dest uninstall || return
    same "$(printf '%s\n' lib/libother.so share/doc/libevbus/NOTES share/man/man7/evbus.7.gz)" "$(files "$prefix")" &&
        same '' "$(files "$dest")" && [ ! -e "$dest/usr/share/doc/libevbus" ]
}

refuses() { # refuses SETTING: with a sentence that names it, and nothing is written
    local out
    out=$(make_only "$1" DESTDIR="$tmp/refused" install 2>&1) && return 1
    [[ $out == *"${1%%=*}=${1#*=}: give an absolute path without spaces"* ]] || same 'a sentence' "$out" || return
    [ ! -e "$tmp/refused" ]
}

# Another user than the one who built; the tree is not theirs to write in.
read_only_tree() {
    local as=() before
    shopt -s nullglob # there may be no page that is built
    mkdir "$tmp/tree" "$tmp/far" &&
        cp -a --parents Makefile include lib man pkgconfig examples tests/*/*.mk "$tmp/tree" &&
        mkdir "$tmp/tree/build" && cp -a "$B"/{lib,examples,evbus,libevbus.*,deps.ok,man*} "$tmp/tree/build" || return
    chmod -R a+rX,a-w "$tmp/tree" && chmod 777 "$tmp/far"
    before=$(find "$tmp/tree" -printf '%p %T@ %m\n' | sort)
    [ "$(id -u)" != 0 ] || as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    (cd "$tmp/tree" && "${as[@]}" make -s CC=false AR=false PKG_CONFIG=false install PREFIX="$tmp/far/prefix" \
        LIBDIR="$tmp/far/lib64" INCLUDEDIR="$tmp/far/headers") &&
        same "$before" "$(find "$tmp/tree" -printf '%p %T@ %m\n' | sort)"
}

# ---- pkg-config ----

answers() { # answers FOLDER ANSWER OPTION...
    same "$2" "$(PKG_CONFIG_PATH=$1 pkg-config "${@:3}" evbus 2>&1 | sed 's/ *$//')"
}

variables() {
    local ours=$prefix/lib/pkgconfig far=$tmp/far/lib64/pkgconfig there=--define-variable=prefix=/elsewhere
    answers "$ours" "$version" --modversion && answers "$ours" "-L$prefix/lib -levbus" --libs &&
        answers "$ours" "$prefix/lib" --variable=libdir && answers "$ours" "$prefix/include" --variable=includedir &&
        answers "$ours" /elsewhere/lib $there --variable=libdir &&
        answers "$ours" /elsewhere/include $there --variable=includedir &&
        answers "$dest$multiarch/pkgconfig" $multiarch --variable=libdir &&
        answers "$far" "$tmp/far/prefix" --variable=prefix && answers "$far" "-L$tmp/far/lib64 -levbus" --libs &&
        answers "$far" "$tmp/far/headers" --variable=includedir && ! grep -r '@[A-Z]*@' "$ours"
}

# ---- a stranger's programs ----

builds() { # builds HOW SOURCE [PACKAGE...]: shared, static (all of it) or archive (libevbus only)
    local loaded how=$1 source=$2 compiler="$CC -std=c11" flags program
    program=$tmp/$how-$(basename "$source")
    shift 2
    [[ $source != *.cc ]] || compiler="$CXX -std=c++11"
    [ "$how" != static ] || set -- --static "$@"
    flags=$(PKG_CONFIG_PATH=$prefix/lib/pkgconfig pkg-config --cflags --libs "$@" evbus) || return
    case $how in
    static) compiler="$compiler -static" ;;
    archive) flags="${flags/-levbus/-l:libevbus.a} $(pkg-config --libs hiredis libevent jansson openssl)" ;;
    esac
    # shellcheck disable=SC2086
    (cd "$tmp" && $compiler -Wall -Wextra -Wpedantic -Werror -pthread "$source" $flags -o "$program") || return
    case $how in
    shared)
        loaded=$(LD_LIBRARY_PATH=$prefix/lib ldd "$program" | awk '/libevbus/ { print $3 }')
        same "$prefix/lib/libevbus.so.0" "$loaded"
        ;;
    archive) ! needed "$program" | grep libevbus ;;
    static) ! needed "$program" | grep . ;;
    esac
}

says() { # says WHAT PROGRAM [INPUT]: its output, with no setting of whoever runs the tests
    local out
    out=$(printf '%s' "${3-}" | env -i LD_LIBRARY_PATH="$prefix/lib" timeout 60 "$tmp/$2") &&
        same "$1" "$out"
}

counts() { builds "$1" "$here/tests/install/$2" && says "100 by $version" "$1-$2"; }
example() { # example HOW NAME WHAT [INPUT]
    local packages=()
    [ "$2" != own_loop ] || packages=(libevent)
    builds "$1" "$prefix/share/doc/libevbus/examples/$2.c" "${packages[@]}" && says "$3" "$1-$2.c" "${4-}"
}

unloads() { # dlclose() does not take the code away from under a running bus
    # shellcheck disable=SC2046
    $CC -std=c11 -D_GNU_SOURCE -Wall -Wextra -pthread tests/install/unload.c -o "$tmp/unload" \
        $(PKG_CONFIG_PATH=$prefix/lib/pkgconfig pkg-config --cflags evbus) -ldl &&
        timeout 60 "$tmp/unload" "$prefix/lib/libevbus.so.0"
}

programs() {
    local how
    for how in "$@"; do
        check "C, $how" counts "$how" count.c
        check "C++, $how" counts "$how" count.cc
        check "hello.c, $how" example "$how" hello 'task.created {"id":7}'
        check "own_loop.c, $how" example "$how" own_loop \
            "$(printf 'clock.tick {"n":%d}\n' 1 2 3 && echo closed: no error)"
        check "queue_poll.c, $how" example "$how" queue_poll 'a.b {"x":1}' $'a.b {"x":1}\n'
    done
}

has_static_dependencies() {
    # shellcheck disable=SC2046
    echo 'int main(void) { return 0; }' | $CC -static -x c - -x none -o "$tmp/probe" \
        $(pkg-config --static --libs hiredis libevent jansson openssl) 2>/dev/null
}

# ---- how they are linked ----

has() { grep -E -e "$@" || { echo "no $1"; false; }; }
has_not() { ! grep -E "$@"; }
needed() { readelf -dW "$1" | sed -nE 's/.*\(NEEDED\).*\[(.*)\]/\1/p'; }

needs() { # only what is meant, and that for a reason
    local ours='libhiredis|libevent[-0-9.]*|libjansson|libssl|libcrypto'
    needed "$1" | has_not -v "^($ours|libc|libpthread|libdl|ld-linux[-_a-z0-9]*)\.so" &&
        has_not '^\s' < <(ldd -u "$1")
}

segments() {
    readelf -lW "$1" >"$tmp/segments" && readelf -dW "$1" >"$tmp/dynamic" || return
    has GNU_RELRO <"$tmp/segments" && has 'GNU_STACK .* RW ' <"$tmp/segments" && has_not ' RWE ' <"$tmp/segments" &&
        has 'Flags:.* NOW' <"$tmp/dynamic" && has_not 'TEXTREL|RPATH|RUNPATH' <"$tmp/dynamic"
}

fortified() { # only what is compiled with optimization, and not against a builder's own word
    local imports
    imports=$(nm -D --undefined-only "$1")
    has '__stack_chk_fail' <<<"$imports" || return
    # shellcheck disable=SC2086
    $CC ${CPPFLAGS-} ${CFLAGS--O2} -dM -E -x c /dev/null | grep __OPTIMIZE__ >/dev/null || return 0
    [[ "${CPPFLAGS-} ${CFLAGS-}" == *FORTIFY* ]] || has '__[a-z]+_chk(@|$)' <<<"$imports"
}

named() {
    readelf -dW "$1" >"$tmp/dynamic" && has 'SONAME.*\[libevbus\.so\.0\]' <"$tmp/dynamic" &&
        has NODELETE <"$tmp/dynamic"
}

position_independent() { readelf -hW "$1" | has 'Type: *DYN' && readelf -dW "$1" | has 'Flags:.* PIE'; }

exports() {
    nm -D --defined-only "$1" >"$tmp/symbols" && has ' T evbus_open@@LIBEVBUS_0$' <"$tmp/symbols" &&
        has_not -v ' T evbus_[a-z0-9_]+@@LIBEVBUS_0$| A LIBEVBUS_0$' <"$tmp/symbols"
}

archived() { nm -g --defined-only "$1" | grep ' [A-Z] ' | has_not -v ' evb(us)?_[a-z0-9_]+$'; }

# ---- how they are compiled ----

flags() { # flags SETTING...: one file's command line
    make -n B="$tmp/none" CC="$CC" "$@" "$tmp/none/lib/err.o" | grep -e '-c lib/err.c'
}

hardens() {
    local line
    line=$(flags CFLAGS=-O2 CPPFLAGS=) && has '-D_FORTIFY_SOURCE=[23]' <<<"$line" &&
        has '-fstack-protector-strong' <<<"$line" || return
    [ "$(uname -m)" != x86_64 ] || has '-fstack-clash-protection .*-fcf-protection' <<<"$line" || return
    flags CFLAGS='-O2 -DTHEIRS' | has '-O2 -DTHEIRS' &&
        flags CPPFLAGS=-fsanitize=address | has_not 'FORTIFY|stack-prot|fcf'
}

compiles() { make -s B="$tmp/own" CC="$CC" WARN='-Wall -Wextra -Werror' "$@" -B "$tmp/own/lib/err.o"; }

respects() { # respects LEVEL SETTING...: a builder's word about fortification is the last, and no warning comes of it
    same "$1" "$(flags "${@:2}" | sed -E 's/.*_FORTIFY_SOURCE=(.).*/\1/')" && compiles "${@:2}"
}

check 'make install builds nothing' builds_nothing
check 'and installs what it found' contents
check 'again, over it' installs_again
check 'manual pages that are links' manual_links
check 'from a tree that is read-only' read_only_tree
check 'a relative PREFIX is refused' refuses PREFIX=usr
check 'a PREFIX with a space is refused' refuses 'PREFIX=/opt/my software'
check 'so is such a LIBDIR' refuses 'LIBDIR=/opt/my lib'
check 'evbus.pc' variables
programs shared archive
if has_static_dependencies; then
    programs static
else
    echo "SKIPPED: programs linked with -static: libevbus's dependencies are not all here as archives"
fi
check 'the tool runs' same "evbus $version" "$("$prefix/bin/evbus" --version)"
check 'dlclose() while a bus runs' unloads
for elf in lib/libevbus.so bin/evbus; do
    check "$elf needs what it uses" needs "$prefix/$elf"
    check "$elf: relro, bind now, no executable stack or text relocation" segments "$prefix/$elf"
    check "$elf: stack protector, fortified calls" fortified "$prefix/$elf"
done
check 'libevbus.so: SONAME, nodelete' named "$prefix/lib/libevbus.so"
check 'libevbus.so exports evbus_* only' exports "$prefix/lib/libevbus.so"
check 'libevbus.a defines evb_* and evbus_* only' archived "$prefix/lib/libevbus.a"
check 'evbus is position-independent' position_independent "$prefix/bin/evbus"
check 'hardening by default, sanitizers without' hardens
check 'no warning without optimization' compiles CFLAGS=-O0 CPPFLAGS=
check 'fortification from CPPFLAGS' respects 1 CFLAGS=-O2 CPPFLAGS=-D_FORTIFY_SOURCE=1
check 'fortification from CFLAGS' respects 2 CFLAGS='-O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2' CPPFLAGS=
check 'make uninstall' uninstalls
summary
