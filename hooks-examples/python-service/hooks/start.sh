#!/bin/sh
# Fails if the service does not become ready. Then the deployment's log gets what the service said.
set -eu
[ -z "${HOSTLER_ROOT:-}" ] || exit 0
# Attempts of the revision before do not count against this one.
systemctl reset-failed python-service.service 2>/dev/null || true
if ! systemctl start python-service.service; then
	started=$(systemctl show --value --property=InvocationID python-service.service)
	journalctl "_SYSTEMD_INVOCATION_ID=$started" --lines 20 --no-pager --output cat >&2
	exit 1
fi
