#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Brings the npm client libraries that the end-to-end tests use into build/npm, in the versions and
# with the checksums of tests/e2e/npm/package-lock.json; no script of theirs is run.
set -eu
cd "$(dirname "$0")/.."

lock=tests/e2e/npm/package-lock.json
if cmp -s "$lock" build/npm/package-lock.json && [ -d build/npm/node_modules ]; then
    exit 0
fi
mkdir -p build/npm
cp tests/e2e/npm/package.json build/npm/
cp "$lock" build/npm/package-lock.new
mv build/npm/package-lock.new build/npm/package-lock.json
if ! npm ci --prefix build/npm --ignore-scripts --no-audit --no-fund >build/npm/log 2>&1; then
    cat build/npm/log >&2
    rm -f build/npm/package-lock.json
    echo "npm-clients: npm could not install" >&2
    exit 1
fi
