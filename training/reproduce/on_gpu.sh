#!/bin/sh
# Everything that waits for a GPU, in the order of its use; goes on where it was stopped.
#
#   training/reproduce/on_gpu.sh BOXES SLICES FOLDS RUNS [WHOLE [FINE3D]]
#
# BOXES, SLICES: folders of training.prepare for the recipes tumor-boxes and liver-slices.
# FOLDS: folder with a split a fold (training.split --folds). RUNS: where the runs go.
# WHOLE, FINE3D: folders for the papers' own networks (recipes whole-scan, gunetrpp-*).
# WIDTH, BASE_STEPS, STEPS, EPOCHS: other sizes than those below.
# Needs torch, numpy, scipy, opencv and safetensors, and nothing from a network.
set -eu
boxes=$1 slices=$2 folds=$3 runs=$4 whole=${5:-} fine3d=${6:-}
width=${WIDTH:-64} base_steps=${BASE_STEPS:-20000} steps=${STEPS:-4000} epochs=${EPOCHS:-100}

train() { # RUN, then the arguments of training.train; a run that is whole is passed over
    run=$runs/$1
    shift
    if [ ! -f "$run/best.safetensors" ]; then
        echo "$run"
        python -m training.train "$@" -o "$run"
    fi
}

network() { # KIND DATA RECIPE: a base, a branch a fold, and one of all patients
    kind=$1 data=$2 recipe=$3
    train "$kind-base" "$data" --recipe "$recipe" --width "$width" \
        --weak-only --constant --steps "$base_steps"
    for split in "$folds"/*.json; do
        train "$kind-$(basename "$split" .json)" "$data" --recipe "$recipe" --width "$width" \
            --init "$runs/$kind-base" --hold-out "$split" --steps "$steps"
    done
    train "$kind-all" "$data" --recipe "$recipe" --width "$width" \
        --init "$runs/$kind-base" --steps "$steps"
}

network tumor "$boxes" tumor-boxes
network liver "$slices" liver-slices
if [ -n "$whole" ]; then
    train paper "$whole" --recipe whole-scan --epochs "$epochs"
fi
if [ -n "$fine3d" ]; then
    train gunetrpp-liver "$fine3d" --recipe gunetrpp-liver --epochs "$epochs"
    if [ ! -d "$runs/masks" ]; then
        python -m training.liver_masks "$fine3d" -o "$runs/masks" --folds 2 --epochs "$epochs" \
            --final "$runs/gunetrpp-liver/best.safetensors" --recipe gunetrpp-liver
    fi
    train gunetrpp-tumor "$fine3d" --recipe gunetrpp-tumor --masks "$runs/masks" --epochs "$epochs"
fi
