#!/bin/sh
# The paper's comparison at the paper's size: ResNet-20, 160 epochs of the original CIFAR-10, three
# seeds, eight workers on eight GPUs: mini-batch SGD, I = 8 and 32, post-local SGD with I = 16. NOT RUN by
# us: we had no more than one GPU; its plan was.
#
#   scripts/paper_size.sh --dry-run      # what it would train
#   scripts/paper_size.sh                # again, after an interruption, to go on
#
# The recipe is that of conf/experiment/full.yaml, whose γ was chosen for each method by 16 epochs of
# JPEG images; add KEY=VALUE for another, e.g. lr=0.2.
set -eu
cd "$(dirname "$0")/.."
.venv/bin/prsgd train +experiment=full data.root=auto data.label=auto data=cifar10 \
    precision=auto seed=0,1,2 out=results/paper-size "$@"
case " $* " in *" --dry-run "*) ;; *) .venv/bin/prsgd figures results/paper-size ;; esac
