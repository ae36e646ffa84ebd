#!/bin/sh
# What prsgd does on a GPU, shown in under nine minutes on a fresh machine, without a network. Its tests
# and speeds were run on one H200 (results/README.md#gpu), and not yet this script as a whole.
#
#   scripts/gpu_check.sh                        # from the checkout, in its environment
#   scripts/gpu_check.sh ~/.cache/cifar10-jpeg  # with CIFAR-10 as images, for the paper's comparison
#
# Each part has its time limit; what fails or is cut off is told, and the next part goes on. All that
# is found lies in results/gpu: check.md, the parts' output, speed.md, and the runs.
set -u
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-$(test -x .venv/bin/python && echo .venv/bin/python || echo python3)}
DEVICE=${DEVICE:-cuda}
OUT=${OUT:-results/gpu}
IMAGES=${1:-}
mkdir -p "$OUT"
export PYTHONUNBUFFERED=1

{
    test "$DEVICE" = cpu || nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
    "$PYTHON" -c 'import platform, torch; print("Python", platform.python_version(), "torch", torch.__version__)'
    git rev-parse --short HEAD
} >"$OUT/machine.txt" 2>&1
{ echo "| part | result | seconds |"; echo "| --- | --- | ---: |"; } >"$OUT/check.md"

part() { # part NAME SECONDS COMMAND...
    name=$1 limit=$2 begun=$(date +%s)
    shift 2
    timeout -k 20 "$limit" "$@" >"$OUT/$name.txt" 2>&1
    case $? in 0) result=passed ;; 124 | 137) result="cut off after $limit s" ;; *) result=failed ;; esac
    echo "| $name | $result | $(($(date +%s) - begun)) |" | tee -a "$OUT/check.md"
    test "$result" = passed || tail -n 5 "$OUT/$name.txt"
}
train() { # train NAME SECONDS KEY=VALUE...
    name=$1 limit=$2
    shift 2
    part "$name" "$limit" "$PYTHON" -m prsgd train device="$DEVICE" out="$OUT/$name" "$@"
}

part tests 150 "$PYTHON" -m pytest -q -m gpu -p no:cacheprovider -p no:benchmark -n 4
train quickstart 40 +experiment=quickstart interval=8 workers=4
part speed 180 "$PYTHON" scripts/gpu_speed.py --device "$DEVICE" --out "$OUT" ${SPEED:---seconds 1}
train profile 40 +experiment=quickstart interval=8 workers=8 epochs=2 profile=true
if [ -n "$IMAGES" ]; then
    train full 120 +experiment=full epochs=16 data.root="$IMAGES" jobs=4
fi
cat "$OUT/machine.txt" "$OUT/check.md"
