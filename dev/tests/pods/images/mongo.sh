#!/bin/sh
# Starts MongoDB as the image mongo does: arguments are those of mongod.
set -eu
[ "${1:-}" = mongod ] && shift
exec mongod "$@"
