#!/usr/bin/env bash
# ./test.sh         sets up what the tests need, checks the style, runs every test; arguments go to pytest
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# The browser tests take Debian's Chromium; axe-core, which checks what they see, comes from npm. They skip without.
browser() {
    if [ ! -x /usr/bin/chromium ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing chromium"
        apt-get update -qq && apt-get install -y -qq chromium >/dev/null || echo "no chromium to be had" >&2
    fi
    if [ ! -d node_modules/axe-core ] && command -v npm >/dev/null; then
        npm install --no-save --silent --no-audit --no-fund axe-core@4.14.1 || echo "no axe-core to be had" >&2
    fi
}

./run.sh environment requirements.txt requirements-test.txt
browser &
.venv/bin/python -m launcher setup
wait $!
.venv/bin/ruff check --quiet
.venv/bin/ruff format --check --quiet
exec .venv/bin/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder "$@"
