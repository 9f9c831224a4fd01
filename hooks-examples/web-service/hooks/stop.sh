#!/bin/sh
# A stopped service is what is wanted; a host on which it was never started is no failure.
set -eu
if systemctl cat web-service.service >/dev/null 2>&1; then
	systemctl stop web-service.service
	echo "stopped"
else
	echo "there is no web-service to stop"
fi
