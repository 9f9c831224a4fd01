#!/bin/sh
# Asks the service itself, until it answers for this deployment or the time is up: an old process that still listens is
# not taken for the new one. It gives up before the hook's own deadline, so that the log says what was seen last.
set -eu
. /etc/web-service/web-service.env
tries=$((${HOSTLER_DEADLINE:-60} / 2))
[ "$tries" -gt 0 ] || tries=1
answer=
while [ "$tries" -gt 0 ]; do
	answer=$(curl --silent --show-error --fail --max-time 1 "http://127.0.0.1:$PORT/health" 2>&1 || true)
	case "$answer" in
	*'"status": "ok"'*"\"$DEPLOYMENT_ID\""*)
		echo "healthy: $answer"
		exit 0
		;;
	esac
	tries=$((tries - 1))
	sleep 1
done
echo "not healthy; last answer: $answer" >&2
exit 1
