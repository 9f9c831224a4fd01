#!/bin/sh
# Says what is missing before anything changes. Below a scratch root (--root) there is no nginx to ask.
set -eu
[ -z "${HOSTLER_ROOT:-}" ] || exit 0
if ! command -v nginx >/dev/null; then
	echo "nginx is not installed: install it in the image, or by user data" >&2
	exit 1
fi
