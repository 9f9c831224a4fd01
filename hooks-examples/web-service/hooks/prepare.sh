#!/bin/sh
# Made so that it may run again: every deployment runs it.
set -eu
if ! id web-service >/dev/null 2>&1; then
	# A shell, because the CodeDeploy agent runs `runas` hooks through one.
	useradd --system --user-group --home-dir /var/lib/web-service --shell /bin/sh web-service
	echo "made the user web-service"
fi
# The service's own data: not in `files`, so that no deployment replaces or removes it.
install -d -o web-service -g web-service -m 0750 /var/lib/web-service
