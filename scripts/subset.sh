#!/usr/bin/env bash
# A smaller set of images: the first TRAIN and TEST of every class, copied.
#   scripts/subset.sh ~/.cache/cifar10-jpeg ~/.cache/cifar10-jpeg-small 1000 200
set -euo pipefail
if [ $# -ne 4 ]; then
    sed -n '2,3s/^# *//p' "$0" >&2
    exit 2
fi
from=$1 to=$2
for split in train test; do
    [ -d "$from/$split" ] || { echo "$from/$split: there is no such folder; it should have one per class" >&2; exit 2; }
done
for split in train test; do
    count=$3
    [ $split = train ] || count=$4
    for class in "$from/$split"/*/; do
        target="$to/$split/$(basename "$class")"
        mkdir -p "$target"
        find "$class" -maxdepth 1 -type f | LC_ALL=C sort | awk "NR <= $count" | xargs -d '\n' cp -t "$target"
    done
done
