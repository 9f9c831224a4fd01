#!/bin/sh
set -eu
[ -f app/server.jar ] || { echo "app/server.jar is missing: run ./build before hostler push" >&2; exit 1; }
command -v java >/dev/null || { echo "java is not installed" >&2; exit 1; }
