#!/bin/sh
# A unit that is not there is stopped already.
set -eu
[ -z "${HOSTLER_ROOT:-}" ] || exit 0
if systemctl cat python-service.service >/dev/null 2>&1; then
	systemctl stop python-service.service
fi
