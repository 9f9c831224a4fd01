#!/bin/sh
# A copy of an earlier deployment may still run in this colour, for example after a failed one.
set -eu
home=${HOSTLER_ROOT:-}/srv/blue-green
read -r idle <"$home/idle"
case "$idle" in
blue) port=8087 ;;
green) port=8088 ;;
esac
if [ -z "${HOSTLER_ROOT:-}" ]; then
	systemctl daemon-reload
	systemctl stop "blue-green@$idle.service"
fi
rm -rf "${home:?}/$idle"
cp -R app "$home/$idle"
printf '%s\n' "$DEPLOYMENT_ID" >"$home/$idle/deployment"
echo "PORT=$port" >"$home/$idle.env"
echo "server 127.0.0.1:$port;" >"$home/$idle.conf"
