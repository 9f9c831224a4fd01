#!/bin/sh
# Succeeds only if the application does its work; see ../../web-service for one that asks it.
# Standard error is logged beside standard output, each line marked with where it came from.
set -eu
title=$(sed -n 's:.*<title>\(.*\)</title>.*:\1:p' site/index.html)
if [ "$title" != Hello ]; then
	echo "the title of site/index.html is '$title', not 'Hello'" >&2
	exit 1
fi
echo "the front page says '$title' (${HOSTLER_DEADLINE:-?} s were left)"
