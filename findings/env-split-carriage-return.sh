#!/bin/bash
# A script whose first line ends in a carriage return starts by `#!/usr/bin/env -S sh`, and does not by `#!/usr/bin/env sh`.
#
# Seen with GNU coreutils 9.1 (Debian 12, package coreutils 9.1-1), 2026-11-30. The kernel hands the carriage return on as
# the end of env's argument. Plain env looks for a program whose name ends in it. With -S, env splits its argument at
# blanks, and takes a carriage return for one. So the same mistake fails at one host's hook and goes unseen at another's,
# and a check that refuses every carriage return in a first line refuses scripts that work.
#
# Prints what it saw; exits 1 when that is not what is written here any more.
set -euo pipefail
export LC_ALL=C.UTF-8
version=9.1-1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get -o APT::Sandbox::User=root download -q "coreutils=$version" >/dev/null
dpkg --extract coreutils_*.deb tree
env="$folder/tree/usr/bin/env"
"$env" --version | head -n 1

write() { # file, first line
	printf '#!%s\r\nexit 7\n' "$2" >"$1"
	chmod +x "$1"
}
run() {
	local status=0
	"$1" 2>said || status=$?
	printf '%s: exit status %s %s\n' "$1" "$status" "$(sed "s#$folder/tree##" said | head -n 1)"
}
write ./plain "$env sh"
write ./split "$env -S sh"
{ run ./plain; run ./split; } | tee seen

cat >expected <<'SEEN'
./plain: exit status 127 /usr/bin/env: ‘sh\r’: No such file or directory
./split: exit status 7 
SEEN
diff expected seen
