#!/bin/sh
# Removes from an environment what libraries carry along and a daemon never loads: their tests, C headers, and the
# part of Arrow that speaks Flight.
set -eu
cd "$1"/lib/python3*/site-packages
for package in matplotlib numpy pandas pyarrow scipy sklearn statsmodels; do
    [ ! -d "$package" ] || find "$package" -type d \( -name tests -o -name include \) -prune -exec rm -r {} +
done
find pyarrow -maxdepth 1 -iname '*flight*' -exec rm -r {} +
