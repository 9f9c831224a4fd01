#!/bin/sh
set -eu
[ -z "${HOSTLER_ROOT:-}" ] || exit 0
systemctl daemon-reload
systemctl enable --quiet node-service.service
systemctl reset-failed node-service.service 2>/dev/null || true
systemctl start node-service.service
