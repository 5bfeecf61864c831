#!/bin/sh
# Numba takes a cache only where it can write, and the image's own files cannot be written to: the kernels that were
# compiled into the image (5 MB) are copied to where they can be.
set -eu
mkdir -p "$NUMBA_CACHE_DIR"
cp -R /opt/parakh/kernels/. "$NUMBA_CACHE_DIR"
exec parakh "$@"
