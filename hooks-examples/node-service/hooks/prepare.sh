#!/bin/sh
# What the host must have before files change. The settings are made once; an operator or user data may write them before.
set -eu
settings=${HOSTLER_ROOT:-}/etc/node-service.env
if [ ! -f "$settings" ]; then
	mkdir -p "$(dirname "$settings")"
	(umask 077 && echo "PORT=8085" >"$settings")
	echo "made $settings"
fi
[ -z "${HOSTLER_ROOT:-}" ] || exit 0
[ -x /usr/bin/node ] || { echo "/usr/bin/node is missing: install nodejs" >&2; exit 1; }
id node-service >/dev/null 2>&1 || useradd --system --user-group --no-create-home --shell /bin/sh node-service
