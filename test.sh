#!/usr/bin/env bash
# ./test.sh         sets up what the tests need, checks the style, runs every test; arguments go to pytest
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

./run.sh environment requirements.txt requirements-test.txt
.venv/bin/python -m launcher setup
.venv/bin/ruff check --quiet
exec .venv/bin/python -m pytest "$@"
