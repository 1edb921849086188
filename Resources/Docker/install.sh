#!/bin/sh
# install.sh SOURCE TARGET [TORCH_INDEX]: LiverTumorSeg, with DICOM and the other formats, into a
# virtual environment of its own. The Dockerfile's step that needs Python and a network.
set -eu
source=$1 target=$2 torch_index=${3-}

python3 -m venv "$target"
"$target/bin/pip" install --no-cache-dir --disable-pip-version-check \
  ${torch_index:+--extra-index-url "$torch_index"} \
  -c "$source/Testing/constraints.txt" "$source[dicom,formats]"
"$target/bin/livertumorseg" models verify
