#!/bin/sh
# Returns when systemd has started the process; whether it works is for hooks/validate.sh to find out.
set -eu
systemctl start web-service.service
