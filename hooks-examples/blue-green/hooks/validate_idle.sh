#!/bin/sh
# Asks the new copy directly. nginx still sends every request to the other one.
set -eu
[ -z "${HOSTLER_ROOT:-}" ] || exit 0
read -r idle </srv/blue-green/idle
# shellcheck disable=SC1090 # the colour is known only now
. "/srv/blue-green/$idle.env"
tries=$((${HOSTLER_DEADLINE:-60} / 2))
while [ "$tries" -gt 0 ]; do
	answer=$(curl --silent --show-error --fail --max-time 1 "http://127.0.0.1:$PORT/" 2>&1) || true
	if [ "$answer" = "$idle $DEPLOYMENT_ID" ]; then
		echo "healthy: $answer"
		exit 0
	fi
	tries=$((tries - 1))
	sleep 1
done
echo "$idle is not healthy; last answer: $answer" >&2
exit 1
