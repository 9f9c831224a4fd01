#!/bin/sh
# Runs from the bundle of the revision that is in service, so it always fits what it stops. At the first deployment
# there is none, and this event is skipped.
set -eu
echo "stopping ${APPLICATION_NAME:-hello} for deployment $DEPLOYMENT_ID"
