#!/bin/sh
# The user and the directories that no deployment replaces. Below a scratch root (--root) the files stay the caller's.
set -eu
command -v ruby >/dev/null || { echo "ruby is not installed" >&2; exit 1; }
home=${HOSTLER_ROOT:-}/srv/rails-like
mkdir -p "$home/releases" "$home/shared"
[ -z "${HOSTLER_ROOT:-}" ] || exit 0
id rails-like >/dev/null 2>&1 || useradd --system --user-group --home-dir /srv/rails-like --shell /bin/sh rails-like
chown rails-like:rails-like "$home/shared"
