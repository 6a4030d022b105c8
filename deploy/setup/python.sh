# The Python side: a base interpreter the service user may run, uv at its pinned version, .venv from the hashed lock.
# Sourced by ./run after common.sh.

# Prints the interpreter that .venv is made from: Python >= 3.11, runnable by the service user, not itself a venv's.
base_python() {
    if [ -n "${base_python_found:-}" ]; then
        echo "$base_python_found"
        return
    fi
    for python in python3 /usr/bin/python3 /usr/bin/python3.1[1-9] /usr/local/bin/python3; do
        have "$python" || continue
        python=$("$python" -c 'import os, sys; print(os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable))' \
            2>/dev/null) || continue
        if as_service "$python" -I -c 'import ssl, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            echo "$python"
            return
        fi
    done
}

uv_wanted() { sed -n 's/^uv==\([0-9.]*\).*/\1/p' deploy/setup/uv.txt; }
uv_ready() { [ -x .tools/bin/uv ] && [ "$(cat .tools/stamps/uv 2>/dev/null)" = "$(uv_wanted)" ]; }

# Prints what can bring uv here: a python with venv and pip, one with pip, or a uv that is here already.
uv_installer() {
    for python in "$(base_python)" python3 /usr/bin/python3; do
        have "$python" || continue
        if "$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then
            echo "venv $python"
            return
        fi
        if "$python" -m pip --version >/dev/null 2>&1; then
            echo "pip $python"
            return
        fi
    done
    if have uv; then echo "uv $(command -v uv)"; fi
}

install_uv() {
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    installer=$(uv_installer)
    program=${installer#* }
    case ${installer%% *} in
        venv)
            "$program" -m venv "$work/venv"
            "$work/venv/bin/pip" install --only-binary :all: --no-deps --require-hashes -r deploy/setup/uv.txt
            found=$work/venv/bin/uv
            ;;
        pip)
            "$program" -m pip install --target "$work/target" --only-binary :all: --no-deps --require-hashes -r deploy/setup/uv.txt
            found=$work/target/bin/uv
            ;;
        uv) found=$program ;;
    esac
    cp "$found" .tools/bin/uv.new
    mv .tools/bin/uv.new .tools/bin/uv
    uv_wanted >.tools/stamps/uv
}

set_up_uv() {
    if uv_ready; then return; fi
    step uv "uv" "Is the Python package index reachable with pip? Look at the log, then repeat." install_uv
}

# The lock, what is installed in editable mode, and where: another answer means another .venv content.
venv_sum() { file_sum requirements.lock pyproject.toml; }
venv_ready() { [ "$(cat .venv/.copyhold-lock 2>/dev/null)" = "$(venv_sum)" ] && venv_base_ready; }

# A .venv made elsewhere, by another hand, or of an interpreter that is gone or shut to the service user, is made anew.
venv_base_ready() {
    [ "$(cat .venv/.copyhold-root 2>/dev/null)" = "$ROOT" ] && as_service test -x "$ROOT/.venv/bin/python"
}

install_venv() {
    if ! venv_base_ready; then
        rm -rf .venv
        .tools/bin/uv venv --quiet --python "$(base_python)" .venv
        echo "$ROOT" >.venv/.copyhold-root
    fi
    # Compiled here: the service user cannot write into .venv.
    .tools/bin/uv pip sync --python .venv/bin/python --require-hashes --compile-bytecode requirements.lock
    .tools/bin/uv pip install --python .venv/bin/python --no-deps --no-build-isolation --editable .
    as_service "$ROOT/.venv/bin/python" -c 'import dbos, fastapi, psycopg'
    venv_sum >.venv/.copyhold-lock
}

set_up_venv() {
    if venv_ready; then return; fi
    # What uv keeps of its own settings is respected; Python itself always comes from this machine.
    export UV_PYTHON_DOWNLOADS=never
    step venv "Python packages from requirements.lock" \
        "Is the Python package index reachable with uv? Look at the log, then repeat." install_venv
}

lock_python() {
    mkdir -p .tools/bin .tools/stamps
    set_up_uv
    lock_from requirements.lock pyproject.toml --extra dev "$@"
    peer=benchmarks/peers/django_tenants
    lock_from "$peer/requirements.lock" "$peer/requirements.in" "$@"
}
lock_from() {
    lock=$1
    shift
    .tools/bin/uv pip compile --generate-hashes --universal --python-version 3.11 --no-header --no-annotate --quiet \
        --output-file "$lock" "$@"
}
