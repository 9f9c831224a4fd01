#!/bin/sh
set -eu
[ -z "${HOSTLER_ROOT:-}" ] || exit 0
systemctl daemon-reload
systemctl enable --quiet rails-like.service
systemctl start rails-like.service
