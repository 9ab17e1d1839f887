#!/bin/sh
# Makes the environment that the Makefile's commands run in, or completes one that is already there.
#
#   sh scripts/setup/install.sh VENV
#
# Needs Python 3.11, 3.12 or 3.13 and either pip or uv. PYTHON names another Python, INSTALLER=pip|uv chooses between the two.
# An environment made here gets the tested set of constraints.txt. One that was there before and has a torch of its own keeps
# that torch and everything else that is recent enough; only what is missing is added.
set -eu

venv=$1
cd "$(dirname "$0")/../.."
python=$venv/bin/python
stamp=$venv/.interp-workbench       # what was installed last: this directory and the checksums of the two files that decide
made_here=$venv/.made-by-interp-workbench
log=$venv/install.log
supported='(3, 11) <= sys.version_info[:2] <= (3, 13)'
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

say() { printf '%s\n' "$*"; }
fail() { printf '%s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
wanted() { pwd; cksum pyproject.toml constraints.txt; }
supports() { "$1" -c "import sys; sys.exit(not $supported)" >/dev/null 2>&1; }
version() { "$1" -c 'import platform; print(platform.python_version())' 2>/dev/null; }

# A Python to build the environment from: the tested version first.
find_python() {
    if [ -n "${PYTHON:-}" ]; then
        supports "$PYTHON" || fail "PYTHON=$PYTHON is $(version "$PYTHON" || echo 'not a Python that runs'); the tested packages need Python 3.11, 3.12 or 3.13."
        base=$PYTHON
        return
    fi
    for base in python3.11 python3.12 python3.13 python3 python; do
        if supports "$base"; then return; fi
    done
    base=
    have uv || fail "No suitable Python: python3 is $(version python3 || echo missing), and the tested packages need Python 3.11, 3.12 or 3.13. Install one, or say where it is: make install PYTHON=/path/to/python3.11"
}

make_environment() {
    find_python
    if [ "${INSTALLER:-}" != uv ] && [ -n "$base" ] && "$base" -c 'import ensurepip' 2>/dev/null; then
        say "Making $venv with Python $(version "$base")"
        "$base" -m venv "$venv"
    elif [ "${INSTALLER:-}" != pip ] && have uv; then
        say "Making $venv with uv${base:+ and Python $(version "$base")}"
        uv venv --quiet --python "${base:->=3.11,<3.14}" "$venv"
    elif [ -n "$base" ] && "$base" -m pip --version >/dev/null 2>&1; then
        # Debian keeps ensurepip in a package of its own; a pip outside the environment can fill it as well.
        say "Making $venv with Python $(version "$base"), without a pip of its own"
        "$base" -m venv --without-pip "$venv"
    else
        fail "Python $(version "$base") has no pip, and there is no uv: install one of them (on Debian: apt-get install python3-venv)."
    fi
    : >"$made_here"
}

# Sets `installer` to the first that works: the environment's own pip, uv, a pip outside it, the pip bundled with its Python.
choose_installer() {
    outside=$(for one in python3 python3.11 python3.12 python3.13 python; do
        if "$one" -m pip --python "$python" --version >/dev/null 2>&1; then echo "$one"; break; fi
    done)
    if [ "${INSTALLER:-}" = uv ] && have uv; then installer=uv
    elif "$python" -m pip --version >/dev/null 2>&1; then installer=own
    elif [ "${INSTALLER:-}" != pip ] && have uv; then installer=uv
    elif [ -n "$outside" ]; then installer=outside
    elif "$python" -m ensurepip >/dev/null 2>&1; then installer=own
    else fail "$venv has no pip, and there is no uv to fill it: install one of them."
    fi
}

# --use-pep517: packages without a wheel are built in isolation; pip's older way prints deprecation notices.
install() {
    case $installer in
        uv) uv pip install --python "$python" "$@" ;;
        own) "$python" -m pip install --use-pep517 "$@" ;;
        outside) "$outside" -m pip --python "$python" install --use-pep517 "$@" ;;
    esac
}

# Runs a command with its output in the log: a terminal shows the latest line of it, and a failure shows the last ones.
quietly() {
    say "$1"
    shift
    { "$@" 2>&1 && : >"$log.done"; } | tee -a "$log" | show_latest
    if [ -e "$log.done" ]; then rm "$log.done"; return; fi
    tail -n 15 "$log" >&2
    fail "The installation stopped here; all of its output is in $log. Running the same command again goes on from what is there."
}
show_latest() {
    if [ -t 1 ]; then awk '{ printf "\r\033[K  %.70s", $0; fflush() } END { printf "\r\033[K" }'; else cat >/dev/null; fi
}

if [ -x "$python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$(wanted)" ] && "$python" -c ''; then exit 0; fi

if [ ! -e "$python" ]; then make_environment; fi
supports "$python" || fail "The Python of $venv is $(version "$python" || echo 'one that no longer runs'); the tested packages need 3.11, 3.12 or 3.13. Remove $venv, or name another environment: make install VENV=path"
choose_installer
rm -f "$stamp" "$log.done"
: >"$log"

if [ ! -e "$made_here" ] && "$python" -c 'import importlib.metadata as m; m.version("torch")' 2>/dev/null; then
    "$python" scripts/setup/missing.py "$venv"
    quietly "Adding what $venv lacks" install -r "$venv/missing-requirements.txt" -c "$venv/missing-constraints.txt"
    quietly "Installing the project itself" install --no-deps -e .
else
    quietly "Installing the project and the tested set of packages (a few minutes the first time)" install -e '.[dev]' -c constraints.txt
fi
wanted >"$stamp"
say "Ready: $venv"
