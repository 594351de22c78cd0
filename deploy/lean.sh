#!/bin/sh
# Removes from an environment what libraries carry along and a daemon never loads: their tests, C headers, the
# part of Arrow that speaks Flight, and the languages in which Litestar's examples could be.
set -eu
cd "$1"/lib/python3*/site-packages
for package in matplotlib numpy pandas pyarrow scipy sklearn statsmodels; do
    [ ! -d "$package" ] || find "$package" -type d \( -name tests -o -name include \) -prune -exec rm -r {} +
done
find pyarrow -maxdepth 1 -iname '*flight*' -exec rm -r {} +
[ ! -d faker/providers ] || find faker/providers -mindepth 2 -maxdepth 2 -type d ! -name 'en*' ! -name la ! -name __pycache__ -prune -exec rm -r {} +
