#!/bin/sh
# One script may serve several events: LIFECYCLE_EVENT says which one it is.
set -eu
case "$LIFECYCLE_EVENT" in
Before*Traffic) echo "$LIFECYCLE_EVENT: traffic is about to change" ;;
After*Traffic) echo "$LIFECYCLE_EVENT: traffic has changed" ;;
*)
	echo "hooks/traffic.sh has nothing to do at $LIFECYCLE_EVENT" >&2
	exit 1
	;;
esac
