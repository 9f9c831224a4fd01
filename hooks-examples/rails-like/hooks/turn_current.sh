#!/bin/sh
# `mv -T` replaces the link in one step, so that `current` always leads somewhere. The newest three releases stay.
set -eu
cd "${HOSTLER_ROOT:-}/srv/rails-like"
ln -sfn "releases/$DEPLOYMENT_ID" current.new
mv -T current.new current
touch "releases/$DEPLOYMENT_ID"
# Names of releases are deployment ids: letters, digits and dashes.
# shellcheck disable=SC2012
ls -1t releases | tail -n +4 | while read -r old; do
	rm -rf "releases/$old"
	echo "removed the release $old"
done
