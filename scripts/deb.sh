#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Builds a Debian package of what git knows of this tree (or of all of it, without git), in
# build/deb/.
set -eu
cd "$(dirname "$0")/.."

version=$(sed -n 's/^#define EVERWARM_VERSION "\(.*\)"/\1/p' include/everwarm/base/version.h)
tree=build/deb/everwarm-$version
rm -rf build/deb
mkdir -p "$tree"
if git rev-parse --git-dir >/dev/null 2>&1; then
    git ls-files -z | tar -c --null -T - | tar -x -C "$tree"
else
    tar -c --exclude=./build . | tar -x -C "$tree"
fi
mv "$tree/packaging/debian" "$tree/debian"
(cd "$tree" && dpkg-buildpackage -b -us -uc)
ls build/deb/*.deb
