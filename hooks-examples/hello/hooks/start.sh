#!/bin/sh
# A service would be started here. What a hook leaves running in the background goes on after it; its output is still
# logged, and nobody waits for it.
set -eu
echo "started ${APPLICATION_NAME:-hello} on ${HOSTLER_INSTANCE_ID:-this host}"
