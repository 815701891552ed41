#!/usr/bin/env bash
# ./run.sh          the dashboard; arguments go to it (./run.sh --help)
# ./run.sh setup    what training on this machine's CPU needs: the engine in .engine/cpu and the demo model
# ./run.sh demo     setup, then one demo run in the terminal
# Each installs what is missing first. Needs Python 3.11 with venv; PYTHON names another interpreter than python3.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

stop() {
    echo "$*" >&2
    exit 1
}

create_environment() {
    local python=${PYTHON:-}
    if [ -z "$python" ]; then
        python=$(command -v python3.11 || command -v python3) ||
            stop "There is no python3 here: install Python 3.11 (Debian, Ubuntu: apt-get install python3 python3-venv)."
    fi
    local version
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        stop "Python 3.11 or newer is needed, $python is $version: install one and name it, as in PYTHON=python3.11 ./run.sh."
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        stop "$python cannot create environments: apt-get install python$version-venv."
    "$python" -m venv .venv
}

# Installs each requirements file that has changed since it was last installed.
environment() {
    local file
    for file in "$@"; do
        sha256sum --check --status ".venv/$file.sha256" 2>/dev/null && continue
        [ -x .venv/bin/pip ] || create_environment
        echo "installing $file into .venv"
        .venv/bin/pip install --quiet --disable-pip-version-check --no-input --requirement "$file"
        sha256sum "$file" >".venv/$file.sha256"
    done
}

case "${1:-}" in
    environment) # the requirements files to install, for test.sh
        shift
        environment "$@"
        ;;
    setup)
        environment requirements.txt
        exec .venv/bin/python -m launcher setup
        ;;
    demo)
        environment requirements.txt
        .venv/bin/python -m launcher setup
        exec .venv/bin/python -m launcher run --preset cpu-demo --wait
        ;;
    *)
        environment requirements.txt
        exec .venv/bin/python -m app "$@"
        ;;
esac
