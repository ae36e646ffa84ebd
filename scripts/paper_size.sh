#!/bin/sh
# The paper's comparison at the paper's size: ResNet-20, 200 epochs of the original CIFAR-10, three
# seeds, eight workers on eight GPUs. NOT RUN by us: we had no GPU; what follows the runs' plan does.
#
#   scripts/paper_size.sh --dry-run      # what it would train
#   scripts/paper_size.sh                # again, after an interruption, to go on
#
# The recipe is that of conf/experiment/paper.yaml, where γ was chosen by five epochs of JPEG images;
# add KEY=VALUE for another, e.g. lr=0.1.
set -eu
cd "$(dirname "$0")/.."
.venv/bin/prsgd train +experiment=paper data.root=auto data.label=auto data=cifar10 \
    epochs=200 lr=0.05 precision=auto seed=0,1,2 out=results/paper-size "$@"
case " $* " in *" --dry-run "*) ;; *) .venv/bin/prsgd figures results/paper-size ;; esac
