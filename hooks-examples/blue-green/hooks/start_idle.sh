#!/bin/sh
set -eu
[ -z "${HOSTLER_ROOT:-}" ] || exit 0
read -r idle </srv/blue-green/idle
systemctl reset-failed "blue-green@$idle.service" 2>/dev/null || true
systemctl start "blue-green@$idle.service"
