#!/bin/sh
# nginx must serve the page of this bundle. Hooks run in the bundle's directory, so site/index.html is the page to expect.
# After a reload old processes may answer for a moment.
set -eu
[ -z "${HOSTLER_ROOT:-}" ] || exit 0
tries=$((${HOSTLER_DEADLINE:-30} / 2))
[ "$tries" -gt 0 ] || tries=1
while [ "$tries" -gt 0 ]; do
	if curl --silent --show-error --fail --max-time 1 http://127.0.0.1:8081/ | cmp -s - site/index.html; then
		echo "nginx serves the page of this revision"
		exit 0
	fi
	tries=$((tries - 1))
	sleep 1
done
echo "nginx does not serve site/index.html of this revision at http://127.0.0.1:8081/" >&2
exit 1
