#!/usr/bin/env bash
# Plants each bug of this folder in a copy of the tree and has the simulator find it: the invariant that its patch names
# must be the one that fails. `check.sh NAME…` plants only those. Takes minutes a bug: the copy is built anew each time.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
copy=$root/target/planted
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target} CARGO_INCREMENTAL=1 CARGO_TERM_COLOR=never
unset RUSTFLAGS
# A build a bug: less optimised than a release, and in small pieces.
export CARGO_PROFILE_RELEASE_LTO=false CARGO_PROFILE_RELEASE_CODEGEN_UNITS=256
seeds=${SEEDS:-60}
names=("$@")
if [ ${#names[@]} -eq 0 ]; then
    for patch in "$here"/*.patch; do names+=("$(basename "$patch" .patch)"); done
fi

# A copy of what is tracked. A file that a patch touched before stays newer than what was built from it.
mkdir -p "$copy"
git -C "$root" ls-files -z | tar -C "$root" --null -T - -cf - | tar -C "$copy" --keep-newer-files -xf - 2> /dev/null
cd "$copy" || exit 1

missed=()
for name in "${names[@]}"; do
    patch=$here/$name.patch
    invariant=$(sed -n 's/^# Caught by: //p' "$patch")
    began=$SECONDS
    if ! patch -s -p1 < "$patch"; then
        echo "FAIL $name: the patch does not apply"
        missed+=("$name")
        continue
    fi
    if cargo build --quiet --release --locked --workspace --bin simulate; then
        # A bug may also make runs very long: the time they get is bounded.
        found=$(timeout 300 "$CARGO_TARGET_DIR/release/simulate" --seeds "$seeds" --twice 0 --until "$invariant" 2>&1 \
            | grep -E -m 1 "^  $invariant at ")
    else
        found=""
    fi
    patch -s -R -p1 < "$patch"
    if [ -n "$found" ]; then
        echo "ok $name ($((SECONDS - began)) s):$found"
    else
        echo "FAIL $name: $invariant did not fail on $seeds seeds ($((SECONDS - began)) s)"
        missed+=("$name")
    fi
done
[ ${#missed[@]} -eq 0 ] && echo "OK ${#names[@]} bugs" || { echo "FAIL ${missed[*]}"; exit 1; }
