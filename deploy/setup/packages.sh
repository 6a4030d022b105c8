#!/bin/sh
# Installs distribution packages, as root, and leaves nothing behind but the packages: no service is started
# or enabled, no main cluster is made, apt's configuration stays as it was.
#   packages.sh update
#   packages.sh install [PACKAGE…]
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin

policy=/usr/sbin/policy-rc.d
saved_policy=$policy.before-copyhold
cluster_dir=/etc/postgresql-common/createcluster.d
cluster_conf=$cluster_dir/copyhold-setup.conf
marker='copyhold set-up: no service starts'

restore() {
    if [ -e "$policy" ] && grep -q "$marker" "$policy"; then rm -f "$policy"; fi
    if [ -e "$saved_policy" ]; then mv "$saved_policy" "$policy"; fi
    rm -f "$cluster_conf"
    rmdir "$cluster_dir" 2>/dev/null || true
}

guard() {
    restore # what a killed run left behind
    trap restore EXIT
    trap 'exit 1' HUP INT TERM
    if [ -e "$policy" ]; then mv "$policy" "$saved_policy"; fi
    printf '#!/bin/sh\n# %s\nexit 101\n' "$marker" >"$policy"
    chmod 755 "$policy"
    mkdir -p "$cluster_dir"
    echo 'create_main_cluster = false' >"$cluster_conf"
}

apt() { apt-get -q -o DPkg::Lock::Timeout=600 "$@"; }

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# A running server keeps its files: it may be somebody's, and new files under an old server are no upgrade.
server_runs() {
    for exe in /proc/[0-9]*/exe; do
        case $(readlink "$exe" 2>/dev/null) in
            "/usr/lib/postgresql/${1#postgresql-}/bin/postgres"*) return 0 ;;
        esac
    done
    return 1
}

# What a run that was killed left unpacked and not configured.
repair() {
    dpkg --configure -a || true
    apt install -y --no-install-recommends --fix-broken
}

install_packages() {
    wanted='' services=''
    for package; do
        if installed "$package"; then
            case $package in
                postgresql-[0-9]*)
                    if server_runs "$package"; then
                        echo "$package is in use by a running server: not upgraded"
                        continue
                    fi
                    ;;
            esac
        else
            case $package in redis-server | pgbouncer) services="$services $package" ;; esac
        fi
        wanted="$wanted $package"
    done
    [ -n "$wanted" ] || return 0
    # shellcheck disable=SC2086 # a list of package names
    apt install -y --no-install-recommends -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold $wanted
    for service in $services; do
        if command -v systemctl >/dev/null; then systemctl --quiet disable "$service" || true; fi
    done
}

if command -v flock >/dev/null; then
    exec 8>/run/lock/copyhold-packages.lock
    flock 8
fi
verb=$1
shift
case $verb in
    # A broken third-party source must not stop us: if ours is broken too, the installation says so.
    update) apt update || echo 'apt-get update reported errors; going on' ;;
    install)
        if [ -e "$cluster_conf" ]; then
            guard
            repair
        else
            guard
        fi
        install_packages "$@"
        ;;
esac
