# What every part of the set-up shares: saying, failing, timing, versions, who may do what.
# Sourced by ./run, which sets ROOT; works with any POSIX sh.

say() { printf '%s\n' "$*" >&2; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
    printf 'run: %s\n' "$*" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" -eq 0 ]; }
file_sum() { cat "$@" 2>/dev/null | cksum | tr ' ' '-'; }

# version_ge 1.24.1 1.21: is the first at least the second?
version_ge() {
    awk -v a="$1" -v b="$2" 'BEGIN {
        split(a, x, "."); n = split(b, y, ".")
        for (i = 1; i <= n; i++) if (x[i] + 0 != y[i] + 0) exit !(x[i] + 0 > y[i] + 0)
    }'
}

# try_step KEY TITLE COMMAND…: run a step with its output in a log, say how long it took, leave its status in step_rc.
# The command runs in a subshell under set -e, which is why this must never be called inside if, && or ||.
try_step() {
    step_log=$ROOT/.tools/log/$1.log step_title=$2
    shift 2
    mkdir -p "$ROOT/.tools/log"
    printf '  %-62s' "$step_title" >&2
    step_began=$(date +%s)
    set +e
    (
        set -e
        "$@"
    ) >"$step_log" 2>&1 </dev/null
    step_rc=$?
    set -e
    if [ $step_rc -eq 0 ]; then
        say " $(($(date +%s) - step_began)) s"
        return
    fi
    say " failed"
    tail -n 20 "$step_log" | sed 's/^/    | /' >&2
    say "    the whole log: $step_log"
}

# step KEY TITLE HINT COMMAND…: a step that must succeed; HINT says what to do when it does not.
step() {
    step_key=$1 step_title=$2 step_hint=$3
    shift 3
    try_step "$step_key" "$step_title" "$@"
    [ $step_rc -eq 0 ] || die "set-up failed at '$step_title'. $step_hint"
}

# Root's rights: ours, or sudo's. With no terminal sudo must not ask.
can_be_root() {
    is_root && return
    have sudo || return 1
    sudo -n true 2>/dev/null && return
    [ -t 0 ] && sudo -v
}
as_root() { if is_root; then "$@"; else sudo "$@"; fi; }

# The user that runs the platform: postgres when started as root (nobody stands in until the package makes it).
service_user() {
    if id postgres >/dev/null 2>&1; then echo postgres; else echo nobody; fi
}
as_service() {
    if is_root; then
        as_service_user=$(service_user)
        (cd / && exec setpriv --reuid="$as_service_user" --regid="$(id -g "$as_service_user")" --init-groups \
            env HOME=/ "$@")
    else
        "$@"
    fi
}
