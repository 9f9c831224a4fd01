#!/bin/sh
# Asks until the process that this deployment started answers. If that process is gone, waiting is of no use.
set -eu
. ./app/server.conf
home=${HOSTLER_ROOT:-}/opt/java-jar
tries=$((${HOSTLER_DEADLINE:-60} * 2 / 3))
while [ "$tries" -gt 0 ]; do
	answer=$(curl --silent --show-error --fail --max-time 1 "http://127.0.0.1:$PORT/health" 2>&1) || true
	if [ "$answer" = "ok $DEPLOYMENT_ID" ]; then
		echo "healthy: $answer"
		exit 0
	fi
	[ -d "/proc/$(cat "$home/run/server.pid")" ] || break
	tries=$((tries - 1))
	sleep 1
done
echo "not healthy; last answer: $answer; the end of the log:" >&2
tail -n 10 "$home/run/server.log" >&2
exit 1
