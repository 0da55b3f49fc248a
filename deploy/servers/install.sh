#!/bin/sh
# Installs Debian packages of servers, as root: their programs only. Nothing that was not running before runs after, now
# or after a reboot, and no database cluster is made. Usage: install.sh PACKAGE...
set -eu

# How long to wait for another apt, seconds.
APT_WAIT=300

policy=/usr/sbin/policy-rc.d
cluster=/etc/postgresql-common/createcluster.d/spillway.conf
ours=

# Takes away what stands for the time of the installation only.
tidy() {
    for file in $ours; do
        rm -f "$file"
    done
    rmdir /etc/postgresql-common/createcluster.d /etc/postgresql-common 2>/dev/null || :
}
trap tidy EXIT
trap 'exit 1' INT TERM

# Debian starts what it installs, unless this says no.
if [ ! -e "$policy" ]; then
    ours="$ours $policy"
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
# And makes a cluster, unless its settings say no; this is a file beside them.
if [ ! -e "$cluster" ]; then
    ours="$ours $cluster"
    mkdir -p "${cluster%/*}"
    echo 'create_main_cluster = false' >"$cluster"
fi

missing=
for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || missing="$missing $package"
done

export DEBIAN_FRONTEND=noninteractive
apt() {
    apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout="$APT_WAIT" -o Acquire::Retries=3 "$@"
}
apt update || echo "servers: apt-get update failed; trying with the package lists that are there" >&2
apt install --yes --no-install-recommends "$@" || {
    echo "servers: apt-get could not install $*: its reasons are above" >&2
    exit 1
}

for package in $missing; do
    if [ "$package" = redis-server ] && command -v systemctl >/dev/null; then
        systemctl stop redis-server >/dev/null 2>&1 || : # without systemd there is nothing to stop
        systemctl disable redis-server >/dev/null 2>&1 ||
            echo "servers: could not keep redis-server from starting with the machine: systemctl disable redis-server" >&2
    fi
done
