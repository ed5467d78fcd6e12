#!/bin/sh
# Recomputes every committed number and compares byte for byte. PYTHON names an interpreter with the packages of
# requirements.txt; without it a virtual environment is made for the run.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
if [ -z "${PYTHON:-}" ]; then
    environment=$(mktemp -d)
    trap 'rm -rf "$environment"' EXIT
    python3 -m venv "$environment"
    "$environment/bin/pip" install --quiet -r "$here/requirements.txt"
    PYTHON="$environment/bin/python"
fi
for script in streams normals elementary sums paths closed_forms models model_forms cat_model climate_pca; do
    "$PYTHON" -B "$here/$script.py" --check
done
