#!/bin/sh
# The last chance to refuse before files change. The bundle is unpacked already: hooks run in its directory.
set -eu
for page in site/*.html; do
	grep -q '</html>' "$page" || { echo "$page is cut off" >&2; exit 1; }
done
echo "the pages of revision ${HOSTLER_REVISION:-(unknown)} are whole"
