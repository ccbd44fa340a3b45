#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Installs the Debian packages that are missing, and only those; says what and why. Without root it
# says what to type and fails.
#
# usage: scripts/deps.sh SET...     sets: build run test ci bench deb
set -eu
cd "$(dirname "$0")/.."

build="make gcc libc6-dev pkg-config libevent-dev libjansson-dev libmicrohttpd-dev libssl-dev
    libxxhash-dev libcurl4-openssl-dev"
run="$build memcached curl"
test="$run check clang binutils util-linux python3 python3-pymemcache python3-memcache
    python3-pylibmc python3-jsonschema prometheus collectd-core libprotobuf-c1 php-cli php-memcached
    libcache-memcached-perl libcache-memcached-fast-perl ruby ruby-dalli libmemcached-dev
    libmemcached-tools nodejs debian-archive-keyring mandoc groff
    chromium chromium-driver python3-selenium fonts-dejavu-core systemd"
# npm comes with some builds of Node.js, and as a package of its own for Debian's.
if ! command -v npm >/dev/null; then
    test="$test npm"
fi
ci="$test clang-format clang-tidy cppcheck llvm"
bench="$run nutcracker python3"
deb="$build debhelper dpkg-dev"

wanted=
for set in "$@"; do
    case $set in
    build) wanted="$wanted $build" ;;
    run) wanted="$wanted $run" ;;
    test) wanted="$wanted $test" ;;
    ci) wanted="$wanted $ci" ;;
    bench) wanted="$wanted $bench" ;;
    deb) wanted="$wanted $deb" ;;
    *)
        echo "deps: no such set: $set" >&2
        exit 2
        ;;
    esac
done

missing=
for package in $(printf '%s\n' $wanted | sort -u); do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    if [ "$state" != installed ]; then
        missing="$missing $package"
    fi
done
missing=${missing# }
if [ -z "$missing" ]; then
    exit 0
fi

if [ "$(id -u)" -ne 0 ]; then
    echo "deps: packages are missing for: $*. As root, type" >&2
    echo "  apt-get update && apt-get install --no-install-recommends $missing" >&2
    exit 1
fi

echo "installing for $*: $missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
options=(-qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120)
# shellcheck disable=SC2086 # a list of names
if ! { apt-get "${options[@]}" update &&
    apt-get "${options[@]}" install -y --no-install-recommends $missing; } >"$log" 2>&1 </dev/null
then
    cat "$log" >&2
    echo "deps: apt-get could not install: $missing" >&2
    exit 1
fi
