# Lint and tests, each part timed. Sourced by ./run, which has set up and put .venv/bin first on PATH.

# check NAME COMMAND…: run it, say how long it took, remember a failure and go on.
check() {
    check_name=$1
    shift
    say "== $check_name"
    check_began=$(date +%s)
    if ! "$@"; then failed_checks="$failed_checks $check_name,"; fi
    timings="$timings
  $check_name: $(($(date +%s) - check_began)) s"
}

check_web() { (cd web && { [ -n "$(find node_modules -maxdepth 0 -newer package-lock.json)" ] || npm ci; } && npm run check); }
check_shell() { shellcheck --shell=sh --external-sources run .ci/run deploy/setup/*.sh; }

lint_all() {
    check ruff ruff check .
    check format ruff format --check .
    check mypy mypy
    check imports lint-imports
    check revisions copyhold migrate lint
    if [ -e web/package.json ]; then check web check_web; fi
    if have shellcheck; then
        check shellcheck check_shell
    else
        timings="$timings
  shellcheck: not installed, left out"
    fi
}

run_lint() {
    failed_checks='' timings=''
    lint_all
    say "took:$timings"
    [ -z "$failed_checks" ] || die "failed:${failed_checks%,}"
}

# A file's tests stay with one process, in their order: they share what they start. Files go out in the order of
# tests/conftest.py. One process more than there are cores: many tests wait.
both_cores='-n 3 --dist loadfile --no-loadscope-reorder'

# run_tests SETUP_SECONDS [quick] ARGS…
run_tests() {
    failed_checks='' timings="
  set-up: $1 s"
    shift
    case ${1:-} in
        '')
            # shellcheck disable=SC2086 # words, not one
            set -- $both_cores
            lint_all
            ;;
        quick)
            shift
            # shellcheck disable=SC2086
            set -- $both_cores -m 'not slow' "$@"
            lint_all
            ;;
    esac
    # Wrong types or style are told at once; the tests cost minutes.
    if [ -z "$failed_checks" ]; then check tests python -m pytest "$@"; fi
    say "took:$timings"
    [ -z "$failed_checks" ] || die "failed:${failed_checks%,}"
}
