#!/bin/sh
# The old release serves while this runs, unless ApplicationStop stopped it. Code belongs to root, so that the application
# cannot change it.
set -eu
release=${HOSTLER_ROOT:-}/srv/rails-like/releases/$DEPLOYMENT_ID
rm -rf "$release"
cp -R app "$release"
# Rails would also get its links into shared/ here: log, tmp/pids, storage, config/master.key.
