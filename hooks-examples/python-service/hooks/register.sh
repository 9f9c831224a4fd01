#!/bin/sh
# The unit file may have changed.
set -eu
[ -z "${HOSTLER_ROOT:-}" ] || exit 0
systemctl daemon-reload
systemctl enable --quiet python-service.service
