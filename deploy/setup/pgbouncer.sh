# PgBouncer >= 1.21 as .tools/bin/pgbouncer: the packaged one, or the newer Debian release's source, built here.
# Sourced by ./run after common.sh.

PGBOUNCER_MIN=1.21
# The first Debian release whose PgBouncer is new enough; asked only for its source package.
NEWER_DEBIAN=trixie
PGBOUNCER_BUILD_PACKAGES='gcc make libc6-dev dpkg-dev libevent-dev libssl-dev pkg-config'

pgbouncer_version() { "$1" --version 2>/dev/null | awk '/^PgBouncer/ { print $2; exit }'; }

pgbouncer_packaged() {
    for pgbouncer_found in "$(command -v pgbouncer || true)" /usr/sbin/pgbouncer /usr/bin/pgbouncer /usr/local/bin/pgbouncer; do
        case $pgbouncer_found in "$ROOT"/.tools/*) continue ;; esac
        if [ -x "$pgbouncer_found" ]; then
            echo "$pgbouncer_found"
            return
        fi
    done
}

# Is the one in .tools good, or the installed one good enough to be linked there?
pgbouncer_ready() {
    pgbouncer_own=$ROOT/.tools/bin/pgbouncer
    if [ -x "$pgbouncer_own" ] && version_ge "$(pgbouncer_version "$pgbouncer_own")" $PGBOUNCER_MIN; then return 0; fi
    pgbouncer_found=$(pgbouncer_packaged)
    [ -n "$pgbouncer_found" ] && version_ge "$(pgbouncer_version "$pgbouncer_found")" $PGBOUNCER_MIN || return 1
    ln -sfn "$pgbouncer_found" "$pgbouncer_own"
}

# An old one is made do with, and looked after once a day.
pgbouncer_settled() {
    if pgbouncer_ready; then return 0; fi
    [ -x "$ROOT/.tools/bin/pgbouncer" ] && [ "$(cat "$ROOT/.tools/stamps/pgbouncer" 2>/dev/null)" = "$(date +%F)" ]
}

# Is the distribution's package too old, and the newer release's source to be had? Asks apt's lists, not the network.
pgbouncer_wants_building() {
    have apt-cache || return 1
    candidate=$(LC_ALL=C apt-cache policy pgbouncer 2>/dev/null | awk '$1 == "Candidate:" { print $2 }')
    ! version_ge "${candidate#*:}" $PGBOUNCER_MIN && [ -n "$(newer_debian_sources)" ]
}

pgbouncer_can_be_built() {
    # shellcheck disable=SC2086 # a list of package names
    pgbouncer_wants_building && dpkg-query -W $PGBOUNCER_BUILD_PACKAGES >/dev/null 2>&1
}

# Which packages bring PgBouncer here: its own, or what building it takes. Asked after apt-get update.
pgbouncer_packages() {
    if pgbouncer_wants_building; then echo "$PGBOUNCER_BUILD_PACKAGES"; else echo pgbouncer; fi
}

# This machine's own Debian mirrors (one-line or deb822, apt tells), with the newer release in place of ours.
newer_debian_sources() {
    # shellcheck disable=SC1091
    release=$(. /etc/os-release && [ "$ID" = debian ] && echo "${VERSION_CODENAME:-}") || return 0
    [ -n "$release" ] && have apt-get || return 0
    # shellcheck disable=SC2016 # apt fills these in
    apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' 'Origin: Debian' 'Component: main' |
        awk -v ours="$release" -v newer=$NEWER_DEBIAN '
            $2 == ours || $2 == ours "-updates" || $2 == ours "-security" {
                sub("^" ours, newer, $2)
                if (!seen[$0]++) print "deb-src", $1, $2, "main"
            }'
}

# newer_apt PROGRAM ARGS…: apt with a configuration of its own below $work; the system's sources stay untouched.
newer_apt() {
    newer_apt_program=$1
    shift
    "$newer_apt_program" -q -o Dir::Etc::sourcelist="$work/newer.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" "$@"
}

# fetch_pgbouncer KEYRING [lenient]: the newer release's signed source, unpacked below $work/source with Debian's
# patches. Lenient: a suite that is missing or not verified is left out (its security fixes, too); apt never reads it.
fetch_pgbouncer() {
    newer_debian_sources | sed "s|^deb-src |&[signed-by=$1] |" >"$work/newer.list"
    rm -rf "$work/lists" "$work/cache" "$work/source"
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/source"
    { newer_apt apt-get update || [ "${2:-}" = lenient ]; } &&
        (cd "$work/source" && newer_apt apt-get source --only-source pgbouncer)
}

debian_keyring() { find "$1" -name 'debian-archive-keyring.[gp]*' 2>/dev/null | sort | head -n 1; }

build_pgbouncer() {
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    chmod 755 "$work" # apt reads and writes as a user of its own
    installed=$(debian_keyring /usr/share/keyrings)
    if ! { [ -n "$installed" ] && fetch_pgbouncer "$installed"; }; then
        echo '== not all verified with the installed keyring: trying the newest debian-archive-keyring package'
        (cd "$work" && apt-get -q download debian-archive-keyring && dpkg-deb -x debian-archive-keyring_*.deb keys)
        newest=$(debian_keyring "$work/keys")
        fetch_pgbouncer "$newest" || fetch_pgbouncer "$newest" lenient
    fi
    cd "$work"/source/pgbouncer-*/ || exit
    eval "$(dpkg-buildflags --export=sh)" # Debian's hardening
    ./configure --quiet --without-cares --without-systemd
    make -j"$(getconf _NPROCESSORS_ONLN)" pgbouncer
    built=$(pgbouncer_version ./pgbouncer)
    version_ge "$built" $PGBOUNCER_MIN
    mv pgbouncer "$ROOT/.tools/bin/pgbouncer.new"
    mv "$ROOT/.tools/bin/pgbouncer.new" "$ROOT/.tools/bin/pgbouncer"
    echo "PgBouncer $built"
}
