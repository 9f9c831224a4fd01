#!/bin/sh
# Turns the link in one step and lets nginx read it. If nginx refuses, the link goes back and the deployment fails.
set -eu
home=${HOSTLER_ROOT:-}/srv/blue-green
read -r idle <"$home/idle"
turn_to() {
	ln -sfn "$1" "$home/active.new"
	mv -T "$home/active.new" "$home/active"
}
before=$(readlink "$home/active")
turn_to "$idle.conf"
[ -z "${HOSTLER_ROOT:-}" ] || exit 0
if ! nginx -t || ! systemctl reload-or-restart nginx.service; then
	turn_to "$before"
	exit 1
fi
# This colour starts again after a reboot.
systemctl enable --quiet "blue-green@$idle.service"
echo "nginx sends requests to $idle"
