#!/bin/sh
# nginx reads the new configuration without using it. If it is wrong, this event fails: the agent puts the old files back,
# and nginx has not noticed anything.
set -eu
[ -z "${HOSTLER_ROOT:-}" ] || exit 0
nginx -t
