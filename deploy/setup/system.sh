# The programs that come from the distribution: PostgreSQL, Redis, PgBouncer and what it takes to build it, Python.
# Finds out what is missing, then asks apt for all of it at once. Sourced by ./run after common.sh and its neighbours.

POSTGRESQL_MIN=15

# The newest security releases known when this was written: an older one is upgraded when apt has a newer.
postgresql_floor() {
    case $1 in
        15) echo 15.20 ;;
        16) echo 16.16 ;;
        17) echo 17.12 ;;
        18) echo 18.7 ;;
        *) echo "$1" ;;
    esac
}

# Sets pg_bin and pg_version to the newest server on this machine, or to nothing.
find_postgresql() {
    pg_bin='' pg_version=0
    for pg_candidate in /usr/lib/postgresql/*/bin "$(dirname "$(command -v postgres || echo /nowhere/postgres)")"; do
        if ! [ -x "$pg_candidate/postgres" ] || ! [ -x "$pg_candidate/initdb" ]; then continue; fi
        pg_candidate_version=$("$pg_candidate/postgres" --version | awk '{ print $3 }')
        if ! version_ge "$pg_version" "$pg_candidate_version"; then
            pg_bin=$pg_candidate pg_version=$pg_candidate_version
        fi
    done
    version_ge "$pg_version" $POSTGRESQL_MIN || pg_bin=''
}

find_redis() { command -v redis-server || [ ! -x /usr/bin/redis-server ] || echo /usr/bin/redis-server; }

# An outdated server is looked after once a day at most: apt may have no newer one, or it is in use.
postgresql_outdated() {
    [ -n "$pg_bin" ] && ! version_ge "$pg_version" "$(postgresql_floor "${pg_version%%.*}")"
}
postgresql_tried=$ROOT/.tools/stamps/postgresql
postgresql_upgrade_due() {
    case $pg_bin in /usr/lib/postgresql/*) ;; *) return 1 ;; esac
    postgresql_outdated && [ "$(cat "$postgresql_tried" 2>/dev/null)" != "$pg_version $(date +%F)" ]
}

# What is missing, as package names; "pgbouncer" stands for it or its build tools.
missing_packages() {
    if [ -z "$pg_bin" ]; then echo postgresql; fi
    if postgresql_upgrade_due; then echo "postgresql-${pg_version%%.*}"; fi
    if [ -z "$(find_redis)" ]; then echo redis-server; fi
    if ! pgbouncer_settled && ! pgbouncer_can_be_built; then echo pgbouncer; fi
    if [ -z "$(base_python)" ]; then
        echo python3 python3-venv
    elif ! uv_ready && [ -z "$(uv_installer)" ]; then
        echo python3-venv
    fi
}

# packages.sh leaves this file behind only when it was killed: programs may be there and not configured.
install_interrupted() { [ -e /etc/postgresql-common/createcluster.d/copyhold-setup.conf ]; }

set_up_system() {
    find_postgresql
    missing=$(missing_packages | tr '\n' ' ')
    if [ -z "$missing" ] && ! install_interrupted; then return; fi
    if have apt-get && can_be_root; then
        install_system
    fi
    find_postgresql
    require_system
}

install_system() {
    hint='Look at the log, mend apt (try: apt-get update), then repeat; or install the packages by hand.'
    step apt-update "package lists" "$hint" as_root sh deploy/setup/packages.sh update
    # PgBouncer's place is decided now that the candidates are known.
    case " $missing " in
        *' pgbouncer '*) missing="$(echo " $missing " | sed 's/ pgbouncer / /') $(pgbouncer_packages)" ;;
    esac
    # shellcheck disable=SC2086 # a list of package names
    step apt-install "packages: $(summary ${missing:-interrupted before})" "$hint" as_root sh deploy/setup/packages.sh install $missing
    find_postgresql
    if postgresql_outdated; then echo "$pg_version $(date +%F)" >"$postgresql_tried"; fi
}

# The first packages' names, short enough for one line.
summary() {
    echo "$@" | awk '{ printf "%s", $1; for (i = 2; i <= NF && i <= 3; i++) printf ", %s", $i; if (NF > 3) printf " and %d more", NF - 3 }'
}

set_up_pgbouncer() {
    if ! pgbouncer_settled; then bring_pgbouncer; fi
    pgbouncer_found=$(pgbouncer_version .tools/bin/pgbouncer)
    version_ge "$pgbouncer_found" "$PGBOUNCER_MIN" ||
        warn "PgBouncer $pgbouncer_found is older than $PGBOUNCER_MIN: it works, with prepared statements off."
}

bring_pgbouncer() {
    if pgbouncer_can_be_built; then
        try_step pgbouncer "PgBouncer from the newer Debian release's source" build_pgbouncer
        # shellcheck disable=SC2154 # try_step sets it
        if [ "$step_rc" -eq 0 ]; then return; fi
        if [ -z "$(pgbouncer_packaged)" ] && can_be_root; then
            step apt-pgbouncer "packages: pgbouncer" "Repeat when apt works, or install PgBouncer >= $PGBOUNCER_MIN by hand." \
                as_root sh deploy/setup/packages.sh install pgbouncer
        fi
    fi
    pgbouncer_found=$(pgbouncer_packaged)
    [ -n "$pgbouncer_found" ] || die "PgBouncer is missing. Install PgBouncer >= $PGBOUNCER_MIN, then repeat."
    ln -sfn "$pgbouncer_found" .tools/bin/pgbouncer
    date +%F >.tools/stamps/pgbouncer
}

# Without apt: name all that is missing, once.
require_system() {
    lacking=
    if [ -z "$pg_bin" ]; then lacking="$lacking
  PostgreSQL >= $POSTGRESQL_MIN, server programs (looked in /usr/lib/postgresql/*/bin and on PATH)"; fi
    if [ -z "$(find_redis)" ]; then lacking="$lacking
  redis-server"; fi
    if [ -z "$(pgbouncer_packaged)" ] && ! pgbouncer_ready && ! pgbouncer_can_be_built; then lacking="$lacking
  PgBouncer >= $PGBOUNCER_MIN (looked on PATH and in /usr/sbin)"; fi
    if [ -z "$(base_python)" ]; then lacking="$lacking
  Python >= 3.11 that the user $(if is_root; then service_user; else id -un; fi) may run"; fi
    if ! uv_ready && [ -z "$(uv_installer)" ]; then lacking="$lacking
  Python's venv and pip (python3-venv), or uv on PATH"; fi
    if is_root && ! id postgres >/dev/null 2>&1; then lacking="$lacking
  the user postgres, who runs the platform when root starts it"; fi
    [ -z "$lacking" ] || die "missing here:$lacking
Install them and repeat; on Debian 12, 13 and Ubuntu 24.04, root or sudo lets ./run do it."
}
