#!/bin/sh
# The server must say that it is the release of this deployment. Below a scratch root it does not run.
set -eu
[ -z "${HOSTLER_ROOT:-}" ] || exit 0
tries=$((${HOSTLER_DEADLINE:-60} / 2))
while [ "$tries" -gt 0 ]; do
	answer=$(curl --silent --show-error --fail --max-time 1 http://127.0.0.1:8084/ 2>&1) || true
	case "$answer" in
	"release $DEPLOYMENT_ID, migration "[0-9]*)
		echo "healthy: $answer"
		exit 0
		;;
	esac
	tries=$((tries - 1))
	sleep 1
done
echo "not healthy; last answer: $answer" >&2
exit 1
