#!/bin/sh
# One change at a time to how the tumor network is trained: each a short run from nothing, judged on
# two folds that it leaves out. Goes on where it was stopped.
#
#   training/reproduce/tumor_trials.sh LITS WEAK FOLDS LIVERS TRIALS [NAME...]
#
# LITS, WEAK: the folders of CTs. FOLDS: a folder with a split a fold (training.split --folds).
# LIVERS: a folder with the liver network's run of each fold, fold2 and fold3. TRIALS: where all of it
# goes. NAME: of the trials below; all without any. STEPS: of each run (300).
# TRIALS/NAME/choice/choice.md has what was found at which threshold.
set -eu
lits=$1 weak=$2 folds=$3 livers=$4 trials=$5
shift 5
names=${*:-control pixels-1.0 pixels-1.5 width-16 width-32 window enhanced paper-loss patches-256}
steps=${STEPS:-300}

boxes() { # MM: the packed boxes with such pixels
    if [ ! -d "$trials/boxes-$1" ]; then
        python -m training.prepare "$lits" "$weak" --recipe tumor-boxes --pixel-mm "$1" \
            -o "$trials/boxes-$1"
    fi
}

for name in $names; do
    mm=1.25
    case $name in
    control) change= ;;
    pixels-*) mm=${name#pixels-} change= ;;
    width-*) change="--width ${name#width-}" ;;
    window | enhanced) change="--gray $name" ;;
    paper-loss) change=--paper-loss ;;
    patches-*) change="--size-px ${name#patches-}" ;;
    *)
        echo "$name is no trial of this script." >&2
        exit 2
        ;;
    esac
    run=$trials/$name
    boxes $mm
    if [ ! -f "$run/net/best.safetensors" ]; then
        # shellcheck disable=SC2086 # several words
        python -m training.train "$trials/boxes-$mm" --recipe tumor-boxes --steps "$steps" $change \
            --hold-out "$folds/fold2.json" "$folds/fold3.json" -o "$run/net"
    fi
    mkdir -p "$run/models"
    for fold in fold2 fold3; do
        if [ ! -f "$run/models/$fold.safetensors" ]; then
            cp "$folds/$fold.json" "$run/models/"
            python -m training.export "$livers/$fold" "$run/net" --name "$fold" --join-liver \
                -o "$run/models/$fold.safetensors"
        fi
    done
    if [ ! -d "$run/choice" ]; then
        python -m training.tune "$run/models" "$lits" -o "$run/choice" --predictions "$run/kept"
    fi
done
