# A checkout that the service user cannot read (in /root, in a 0700 folder) is mirrored to where it can.
# Sourced by ./run after common.sh.

MIRRORS=/var/lib/copyhold
# What set-up and the platform make inside a checkout; in a mirrored one, links to the mirror's.
OWN_FOLDERS='.venv .tools .copyhold .demo .bench'

service_reads_checkout() {
    unreadable=$(as_service find "$ROOT" -mindepth 1 \( -name '.*' -o -name node_modules \) -prune -o ! -readable -print -quit 2>&1) &&
        [ -z "$unreadable" ]
}

# Comes back when the checkout can be used as it is; otherwise goes on as the mirror's ./run.
settle_checkout() {
    is_root || return 0
    if service_reads_checkout; then return; fi
    [ "${COPYHOLD_MIRROR_OF:-}" = "" ] || die "the user $(service_user) cannot read $ROOT either: check the modes of $MIRRORS."
    mirror=$MIRRORS/checkout-$(printf %s "$ROOT" | cksum | cut -d' ' -f1)
    mkdir -p "$MIRRORS"
    chmod 755 "$MIRRORS"
    any_python=$(command -v python3) || die "python3 is missing: install Python >= 3.11, then repeat."
    "$any_python" deploy/setup/mirror.py "$ROOT" "$mirror" || die "could not copy $ROOT to $mirror."
    for folder in $OWN_FOLDERS; do link_own_folder "$folder"; done
    say "The user postgres cannot read $ROOT: working in its copy, $mirror"
    COPYHOLD_MIRROR_OF=$ROOT exec "$mirror/run" "$@"
}

link_own_folder() {
    if [ "$(readlink "$1" || true)" = "$mirror/$1" ]; then return; fi
    if [ -d "$1" ] && [ ! -L "$1" ]; then
        case $1 in
            .venv | .tools) rm -rf "$1" ;; # made by set-up, made again in the mirror
            *) die "$ROOT/$1 is in the way: its data cannot be used from here by $(service_user). Move it, then repeat." ;;
        esac
    fi
    ln -sfn "$mirror/$1" "$1"
}
