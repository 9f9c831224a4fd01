#!/bin/sh
# The service must answer with the version of this bundle, from the process that systemd started.
set -eu
[ -z "${HOSTLER_ROOT:-}" ] || exit 0
version=$(sed -n 's/.*"version": "\(.*\)".*/\1/p' app/package.json)
port=$(sed -n 's/^PORT=//p' /etc/node-service.env)
tries=$((${HOSTLER_DEADLINE:-60} / 2))
while [ "$tries" -gt 0 ]; do
	wanted="{\"version\":\"$version\",\"pid\":$(systemctl show --value --property=MainPID node-service.service)}"
	answer=$(curl --silent --show-error --fail --max-time 1 "http://127.0.0.1:$port/health" 2>&1) || true
	if [ "$answer" = "$wanted" ]; then
		echo "healthy: $answer"
		exit 0
	fi
	# systemd gave up: waiting is of no use.
	! systemctl is-failed --quiet node-service.service || break
	tries=$((tries - 1))
	sleep 1
done
echo "not healthy; last answer: $answer; the service's last lines:" >&2
journalctl --unit node-service.service --lines 10 --no-pager --output cat >&2
exit 1
