#!/bin/sh
# Copies a workspace's manifests, with sources that hold nothing: enough for cargo to build the dependencies of the whole.
#   skeleton.sh WORKSPACE TARGET
# The Dockerfile's layer of dependencies is made of this, so whatever is written here has to depend on the manifests alone.
set -eu

from=$1
to=$2
mkdir -p "$to"
cp "$from/Cargo.lock" "$to/Cargo.lock"
cd "$from"
find . \( -name target -o -name '.?*' \) -prune -o -name Cargo.toml -print | LC_ALL=C sort | while read -r manifest; do
    folder=$(dirname "$manifest")
    mkdir -p "$to/$folder"
    cp "$manifest" "$to/$manifest"
    grep -q '^\[package\]' "$manifest" || continue
    mkdir -p "$to/$folder/src"
    for source in src/lib.rs src/main.rs build.rs; do
        if [ -e "$folder/$source" ]; then
            # An unused function is no matter in a library, and a program needs one.
            echo 'pub fn main() {}' >"$to/$folder/$source"
        fi
    done
    # Targets that a manifest names by path: cargo looks for each, also where it builds none of them.
    sed -n 's/^path = "\(.*\.rs\)"$/\1/p' "$manifest" | while read -r target; do
        mkdir -p "$to/$folder/$(dirname "$target")"
        echo 'pub fn main() {}' >"$to/$folder/$target"
    done
done
# One time for all of them: what is built of these is older than any source that is copied over them and touched.
find "$to" -exec touch -d 2000-01-01T00:00:00Z {} +
