#!/bin/sh
# Makes this machine ready to become an image: installs hostler, puts the configuration in its place, deploys if you like, and seals.
# Run it as root and as the last step: by Packer (hostler.pkr.hcl), by an EC2 Image Builder component, or by hand.
#
#   install.sh PACKAGE [CONFIGURATION]
#
#   PACKAGE         a deb or rpm of hostler, a file
#   CONFIGURATION   a configuration of hostler, a file; it becomes /etc/hostler/config.d/50-image.yaml
#
#   HOSTLER_DEPLOY=1   also deploys the current release of each group in the configuration, so that the image holds the application
set -eu

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
	echo "usage: install.sh PACKAGE [CONFIGURATION]" >&2
	exit 2
fi
# apt takes an argument for a file only if it has a slash.
package=$(realpath -e "$1")

if command -v apt-get >/dev/null; then
	DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold \
		install --no-install-recommends "$package"
else
	dnf install -y "$package"
fi

if [ $# -eq 2 ]; then
	hostler validate "$2"
	install -D -m 640 -o root -g hostler "$2" /etc/hostler/config.d/50-image.yaml
fi

# Enabled, so that an instance of the image starts it; stopped, because a running agent cannot be sealed.
systemctl enable --quiet hostler
systemctl stop hostler

if [ "${HOSTLER_DEPLOY:-}" = 1 ]; then
	hostler run --once
fi

# The last step: what the host knows about itself does not belong into the image.
hostler seal
