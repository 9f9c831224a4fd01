#!/bin/sh
# The unit file may have changed.
set -eu
systemctl daemon-reload
systemctl enable --quiet web-service.service
