#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Brings memcached 1.6.38 (Debian 13, "trixie") beside the system's own, for the tests that run on
# both versions. Nothing is installed and the system's package sources are not touched: the packages
# are fetched through an apt of our own, with its state in DIR/apt, checked against Debian's archive
# key, and unpacked in DIR/root with the libc and the libraries that they were built for.
#
# usage: scripts/memcached-trixie.sh [DIR]     (default build/trixie; done at once when it is there)
#
# Leaves DIR/memcached, a launcher that execs the real program, so that its pid is memcached's.
set -eu
cd "$(dirname "$0")/.."

version=1.6.38
directory=$(realpath -m "${1:-build/trixie}")
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
# memcached, and what `ldd` asks for, followed to its end; libc because trixie's is newer than ours.
packages="memcached libc6 libevent-2.1-7t64 libssl3t64 libsasl2-2 libdb5.3t64 libzstd1 zlib1g"

is_there() {
    [ -x "$directory/memcached" ] && [ "$("$directory/memcached" -V)" = "memcached $version" ]
}

if is_there; then
    exit 0
fi
if [ ! -e /usr/share/keyrings/debian-archive-trixie-stable.gpg ]; then
    echo "memcached-trixie: debian-archive-keyring is too old to know trixie's key; type" >&2
    echo "  apt-get update && apt-get install debian-archive-keyring" >&2
    exit 1
fi

mkdir -p "$directory"
exec 9>"$directory/lock"
flock 9 # two test runs at once must not unpack into each other
if is_there; then
    exit 0
fi

echo "fetching memcached $version from Debian trixie into ${directory#"$PWD"/}"

# The mirror that this machine uses for its main archive, whatever it is.
mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' |
    awk '$1 !~ /security/ && $2 !~ /-/ { print $1; exit }')
mirror=${mirror:-http://deb.debian.org/debian/}

apt=$directory/apt
rm -rf "$apt" "$directory/root" "$directory/memcached"
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/debs"
: >"$apt/status"
echo "deb [signed-by=$keyring] $mirror trixie main" >"$apt/sources.list"
options=(
    -qq
    -o "Dir::State=$apt" -o "Dir::State::lists=$apt/lists" -o "Dir::State::status=$apt/status"
    -o "Dir::Cache=$apt/cache" -o "Dir::Etc::sourcelist=$apt/sources.list"
    -o "Dir::Etc::sourceparts=-" -o "APT::Sandbox::User=$(id -un)" -o "Acquire::Languages=none"
    -o "Acquire::Retries=3" -o "Debug::NoLocking=1"
)
apt-get "${options[@]}" update
# shellcheck disable=SC2086 # a list of names
(cd "$apt/debs" && apt-get "${options[@]}" download $packages)

mkdir -p "$directory/root"
for deb in "$apt"/debs/*.deb; do
    dpkg-deb -x "$deb" "$directory/root"
done

triplet=$(uname -m)-linux-gnu
loader=$(find "$directory/root/usr/lib" "$directory/root/lib" -name 'ld-linux-*.so.*' -print -quit)
# Called by this name, the loader's process is "memcached" in ps, not "ld-linux".
mkdir -p "$directory/bin"
ln -sf "$loader" "$directory/bin/memcached"
cat >"$directory/memcached.new" <<END
#!/bin/sh
root=$directory/root
exec "$directory/bin/memcached" --argv0 memcached \\
    --library-path "\$root/usr/lib/$triplet:\$root/lib/$triplet" "\$root/usr/bin/memcached" "\$@"
END
chmod +x "$directory/memcached.new"
mv "$directory/memcached.new" "$directory/memcached"
rm -rf "$apt"

if ! is_there; then
    echo "memcached-trixie: not $version, but: $("$directory/memcached" -V)" >&2
    exit 1
fi
