#!/bin/sh
# Old processes of nginx finish their requests first. Then the other copy is of no more use: a rollback starts it anew.
set -eu
[ -z "${HOSTLER_ROOT:-}" ] || exit 0
read -r idle </srv/blue-green/idle
case "$idle" in
blue) other=green ;;
green) other=blue ;;
esac
tries=30
while pgrep -f 'nginx: worker process is shutting down' >/dev/null && [ "$tries" -gt 0 ]; do
	tries=$((tries - 1))
	sleep 1
done
systemctl disable --quiet "blue-green@$other.service" 2>/dev/null || true
systemctl stop "blue-green@$other.service"
