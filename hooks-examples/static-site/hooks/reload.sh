#!/bin/sh
# A reload drops no request. At the first deployment nginx may not run yet.
set -eu
[ -z "${HOSTLER_ROOT:-}" ] || exit 0
systemctl enable --quiet nginx.service
systemctl reload-or-restart nginx.service
