#!/bin/sh
# User data for EC2: installs hostler, writes its configuration, starts it and asks `hostler doctor`.
#
# Put in your package and your configuration, and give this file as user data. cloud-init runs it once for each instance, as root,
# in its final stage. Its output goes to /var/log/cloud-init-output.log. A second run changes nothing that is right already.
# It ends with exit code 0 only if doctor finds no error; `cloud-init status` says `error` otherwise.
set -eu

# A file on the host, https://..., or s3://... (needs the AWS CLI, which Amazon Linux has). The name should contain the version:
# a file that was fetched is not fetched again.
package=${HOSTLER_PACKAGE:-s3://my-bucket/packages/hostler_0.1.0-1_amd64.deb}

configuration() {
	cat <<'END'
groups:
  - application: web
    group: production
    channel: s3://my-bucket/deploy
END
}

# Nothing below depends on your application.
file=/etc/hostler/config.d/50-user-data.yaml
packages=/var/cache/hostler-packages

say() { echo "hostler user data: $*"; }

scratch=$(mktemp -d)
finish() {
	status=$?
	rm -rf "$scratch"
	[ "$status" -eq 0 ] || say "failed with exit code $status"
}
trap finish EXIT

case $package in
s3://* | https://*)
	local_package=$packages/${package##*/}
	mkdir -p "$packages"
	if [ ! -e "$local_package" ]; then
		say "fetching $package"
		case $package in
		s3://*) aws s3 cp --only-show-errors "$package" "$local_package.partial" ;;
		*) curl --fail --silent --show-error --location --retry 5 --output "$local_package.partial" "$package" ;;
		esac
		mv "$local_package.partial" "$local_package"
	fi
	;;
*) local_package=$package ;;
esac

say "installing $local_package"
if command -v apt-get >/dev/null; then
	# Timers of the distribution may hold the lock at the first boot.
	DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold \
		install --no-install-recommends "$local_package"
else
	dnf install -y "$local_package"
fi

configuration >"$scratch/configuration.yaml"
hostler validate "$scratch/configuration.yaml"
changed=
if ! cmp -s "$scratch/configuration.yaml" "$file"; then
	say "writing $file"
	mkdir -p "${file%/*}"
	install -m 640 -o root -g hostler "$scratch/configuration.yaml" "$file"
	changed=1
fi

# hostler.service is not ordered after cloud-init, so this start does not wait for the script that waits for it.
systemctl enable --quiet hostler
if [ -n "$changed" ] && systemctl is-active --quiet hostler; then
	say "restarting hostler with its new configuration"
	systemctl restart hostler
else
	systemctl start hostler
fi

attempts=5
until hostler doctor; do
	attempts=$((attempts - 1))
	[ $attempts -gt 0 ] || exit 1
	say "asking doctor again"
	sleep 2
done
say "hostler runs"
