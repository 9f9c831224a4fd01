#!/bin/sh
# Every host runs this. Rails takes a lock in the database, so that the hosts migrate one after the other, and the second
# one finds nothing to do. A rollback runs the old release's script, which undoes no migration: write migrations that the
# release before can live with (first add the column, and remove the old one a release later).
set -eu
home=${HOSTLER_ROOT:-}/srv/rails-like
set -- "$home/releases/$DEPLOYMENT_ID/bin/migrate" "$home/shared/database"
[ -n "${HOSTLER_ROOT:-}" ] || set -- runuser -u rails-like -- "$@"
"$@"
