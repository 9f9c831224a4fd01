#!/bin/sh
# Chooses the colour of this deployment: the one that does not serve. Later scripts read it from the file.
set -eu
home=${HOSTLER_ROOT:-}/srv/blue-green
mkdir -p "$home"
case "$(readlink "$home/active" || true)" in
blue.conf) idle=green ;;
*) idle=blue ;;
esac
printf '%s\n' "$idle" >"$home/idle"
echo "this deployment goes to $idle"
# nginx reads this file from Install on, so it must exist at the first deployment.
if [ ! -L "$home/active" ]; then
	echo "server 127.0.0.1:8087;" >"$home/blue.conf"
	ln -s blue.conf "$home/active.first"
	mv -T "$home/active.first" "$home/active"
fi
