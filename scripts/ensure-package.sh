#!/usr/bin/env bash
# Make sure system packages are there: installed with apt where we are root, else named for the person to install.
# Usage: ensure-package.sh PACKAGE...
set -euo pipefail

if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
    echo "error: this needs $*; install it and run the command again (Debian, Ubuntu: sudo apt-get install $*)" >&2
    exit 1
fi
echo "Installing $* with apt-get"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Package lists are often absent (containers) or outdated; they are fetched only when the install fails without.
if ! apt-get install -qq -y --no-install-recommends "$@" >"$log" 2>&1 </dev/null; then
    if ! { apt-get update -qq && apt-get install -qq -y --no-install-recommends "$@"; } >"$log" 2>&1 </dev/null; then
        cat "$log" >&2
        echo "error: apt-get could not install $*; see above" >&2
        exit 1
    fi
fi
