#!/bin/sh
# Make this machine ready to build and test libevbus.
#
#   install-deps.sh           install what is missing
#   install-deps.sh --check   install nothing; name what is missing and exit 1
#   --all                     with either: count in what check-all and check-san need
#   --bench                   with either: count in what the benchmarks need
#
# It installs on Debian and Ubuntu; elsewhere it names the packages.  When
# nothing is missing it leaves apt alone, and so needs neither root nor network.

set -eu

hiredis_min=1.1
hiredis_suite=trixie # the Debian release to take hiredis from if ours is older
archive_keyring=/usr/share/keyrings/debian-archive-keyring.gpg
policy=/usr/sbin/policy-rc.d

PATH=$PATH:/usr/sbin:/sbin # where a user's own PATH has no nats-server

check_only=false
all=false
bench=false
missing=
tmp=
policy_is_ours=false

say() { printf 'install-deps: %s\n' "$*"; }

die() {
	printf 'install-deps: error: %s\n' "$*" >&2
	exit 1
}

# try SENTENCE COMMAND...: say it and do it, silently unless it fails.
try() {
	say "$1"
	shift
	"$@" >"$tmp/log" 2>&1 || {
		cat "$tmp/log" >&2
		return 1
	}
}

step() { try "$@" || die "that failed: $1"; }

# --- What is needed ---------------------------------------------------------

sanitizes() {
	printf 'int main(void) { return 0; }\n' |
		"$1" -fsanitize=address,undefined -x c -o /dev/null -
}

has_header() { printf '#include <%s>\n' "$1" | gcc -E -o /dev/null -x c -; }

# Debian's python3-redis is for Debian's python3, not for another one in PATH.
imports_redis() { /usr/bin/python3 -c 'import redis' || python3 -c 'import redis'; }

# need PACKAGE PROBE...: PACKAGE, by its Debian name, is what makes PROBE succeed.
need() {
	package=$1
	shift
	"$@" >/dev/null 2>&1 || missing="$missing $package"
}

find_missing() {
	missing=
	need gcc command -v gcc
	need g++ command -v g++
	need libc6-dev has_header stdio.h
	need make command -v make
	need pkg-config command -v pkg-config
	need libevent-dev pkg-config --exists libevent libevent_openssl libevent_pthreads
	need libjansson-dev pkg-config --exists jansson
	need libssl-dev pkg-config --exists libssl libcrypto
	need libhiredis-dev pkg-config --exists "hiredis >= $hiredis_min"
	need check pkg-config --exists check
	need openssl command -v openssl
	need redis-server command -v redis-server
	need redis-sentinel command -v redis-sentinel
	need redis-tools command -v redis-cli
	need python3 command -v python3
	need python3-redis imports_redis
	need mandoc command -v mandoc
	if $all; then
		need clang command -v clang
		need libclang-rt-dev sanitizes clang
		need valgrind command -v valgrind
	fi
	if $bench; then
		need libglib2.0-dev pkg-config --exists glib-2.0
		need libzmq3-dev pkg-config --exists libzmq
		need libnats-dev has_header nats/nats.h
		need nats-server command -v nats-server
	fi
	missing=${missing# }
}

other_system() {
	heavy="clang compiler-rt valgrind" # what --all adds
	if command -v dnf; then
		set -- "dnf install gcc gcc-c++ make pkgconf-pkg-config libevent-devel jansson-devel openssl" \
			"openssl-devel hiredis-devel check-devel valkey valkey-compat-redis python3" \
			"python3-redis mandoc"
		heavy="$heavy libasan libubsan libtsan"
	elif command -v apk; then
		set -- "apk add gcc g++ musl-dev make pkgconf libevent-dev jansson-dev openssl" \
			"openssl-dev hiredis-dev check-dev redis python3 py3-redis mandoc"
	elif command -v pacman; then
		set -- "pacman -S gcc make pkgconf libevent jansson openssl hiredis check valkey" \
			"python python-redis mandoc"
	elif command -v brew; then
		set -- "brew install pkgconf libevent jansson openssl hiredis check redis mandoc" \
			"python, and redis for that Python by pip"
		heavy=
	else
		set -- "a C and a C++ compiler, make, pkg-config, libevent, jansson, OpenSSL," \
			"hiredis >= $hiredis_min, check, Redis with Sentinel, Python 3 with redis-py" \
			"and mandoc, by your own means"
		heavy="(and clang with its sanitizers, and valgrind)"
	fi >/dev/null
	! $all || set -- "$*${heavy:+ $heavy}"
	die "this script installs on Debian and Ubuntu only; here it takes: $*"
}

# --- apt --------------------------------------------------------------------

as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

apt_get() {
	as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 \
		apt-get -qy -o DPkg::Lock::Timeout=300 --no-install-recommends "$@"
}

candidate() { LC_ALL=C apt-cache policy "$1" | sed -n '/(none)/d; s/^  Candidate: //p'; }

# Nothing is started or stopped by a package while policy-rc.d exits 101.
hold_services() {
	if [ -e "$policy" ] && ! grep -q install-deps.sh "$policy"; then
		say "leaving it to the $policy of this machine whether a service starts"
		return
	fi
	say "holding back services while packages are installed ($policy)"
	printf '#!/bin/sh\n# By install-deps.sh, which removes it at its end.\nexit 101\n' >"$tmp/policy"
	policy_is_ours=true
	as_root install -m 755 "$tmp/policy" "$policy"
}

clean_up() {
	! $policy_is_ours || as_root rm -f "$policy"
	rm -rf "$tmp"
}

# The tests run servers of their own and need the programs, not the services.
disable_service() {
	if command -v systemctl; then
		as_root systemctl disable "$1"
	elif [ -e "/etc/init.d/$1" ]; then
		as_root update-rc.d "$1" disable
	fi
}

install_packages() {
	step "installing $*" apt_get install "$@"
	for package; do
		case $package in
		redis-server | redis-sentinel | nats-server)
			step "keeping $package, which is new, from starting at boot" disable_service "$package"
			;;
		esac
	done
}

# --- hiredis from a newer Debian --------------------------------------------

# The machine's own Debian mirror, as a deb-src line for $hiredis_suite.  apt
# reads both kinds of sources file for us but does not tell Signed-By, so that
# is looked up in the entry apt names.
# shellcheck disable=SC2016
newer_source() {
	apt-get indextargets --format '$(REPO_URI) $(SOURCESENTRY)' \
		'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 'Component: main' |
		sed '/^cdrom:/d; q' |
		while read -r uri entry; do
			file=${entry%:*}
			number=${entry##*:}
			case $file in
			*.sources) key=$(awk -v n="$number" 'BEGIN { RS = "" } /(^|\n)Types:/ && ++i == n' "$file" | sed -n 's/^Signed-By: *//Ip') ;;
			*) key=$(sed -n "${number}s/.*signed-by=\([^] ]*\).*/\1/p" "$file") ;;
			esac
			echo "deb-src [signed-by=${key:-$archive_keyring}] $uri $hiredis_suite main"
		done
}

# apt-get with lists of its own, so that the machine's stay as they are.
apart() {
	apt-get -q -o APT::Sandbox::User=root -o Dir::State::lists="$tmp/lists" \
		-o Dir::Cache="$tmp/cache" -o Dir::Etc::SourceList="$tmp/sources.list" \
		-o Dir::Etc::SourceParts=/dev/null "$@"
}

download_source() (
	cd "$tmp" &&
		mkdir -p lists/partial cache/archives/partial &&
		apart update &&
		apart source hiredis
)

# In a clean environment: make's flags and the user's are not for this build.
# Its version sorts before Debian's own, which then replaces it on an upgrade.
build_package() (
	cd "$tmp"/hiredis-*/ &&
		sed -i '1s/)/~local)/' debian/changelog &&
		env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME="$tmp" LC_ALL=C.UTF-8 \
			DEB_BUILD_OPTIONS="nocheck noautodbgsym parallel=$(nproc)" \
			dpkg-buildpackage -us -uc -b -Pnocheck
)

build_hiredis() {
	newer_source >"$tmp/sources.list"
	[ -s "$tmp/sources.list" ] ||
		die "this release has hiredis $(candidate libhiredis-dev), $hiredis_min or newer is needed," \
			"and apt has no Debian mirror to build one from: move to a newer release" \
			"(Ubuntu 24.04 has 1.2), or install hiredis from its source with USE_SSL=1"
	step "installing dpkg-dev, to unpack Debian's sources" apt_get install dpkg-dev
	step "downloading the source of $hiredis_suite's hiredis" download_source
	step "installing what its build needs" apt_get build-dep -P nocheck "$tmp"/hiredis_*.dsc
	step "building it" build_package
	step "installing it" apt_get install "$tmp"/libhiredis*.deb
	step "asking apt whether all fits together" apt_get check
}

# --- All of it --------------------------------------------------------------

install_missing() {
	hold_services
	try "refreshing apt's lists" apt_get update || say "going on with the lists there are"
	build=false
	set --
	for package in $missing; do
		version=$(candidate "$package")
		if [ "$package" = libhiredis-dev ] && dpkg --compare-versions "$version" lt "$hiredis_min"; then
			build=true
		elif [ -n "$version" ]; then
			set -- "$@" "$package"
		else
			say "WARNING: this release has no package $package"
		fi
	done
	[ $# -eq 0 ] || install_packages "$@"
	! $build || build_hiredis
}

for argument; do
	case $argument in
	--check) check_only=true ;;
	--all) all=true ;;
	--bench) bench=true ;;
	*) die "usage: $0 [--check] [--all] [--bench]" ;;
	esac
done

find_missing
if [ -z "$missing" ]; then
	say "everything is there already"
	exit
fi
! $check_only || die "missing (by Debian's names): $missing"
command -v apt-get >/dev/null || other_system
[ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null ||
	die "installing packages needs root: run this as root, or install sudo"

trap clean_up EXIT
trap 'exit 130' HUP INT TERM
tmp=$(mktemp -d)
install_missing
find_missing
[ -z "$missing" ] || die "still missing: $missing"
say "everything is there now"
