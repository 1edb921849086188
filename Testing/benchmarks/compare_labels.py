"""How well do labels agree with a reference on the same grid?

    livertumorseg segment CT.nii.gz -o result
    python Testing/benchmarks/compare_labels.py result/seg.nii.gz REFERENCE.nii.gz

Prints the Dice of liver (label 1 and above) and tumor, and lesions found. Never call it a score of
the model when the case shares a patient with its training data.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from LiverTumorSegLib.ct.nifti import read_labels
from LiverTumorSegLib.result.agreement import compare


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("labels", type=Path)
    parser.add_argument("reference", type=Path)
    args = parser.parse_args()
    agreement = compare(read_labels(args.labels)[0], read_labels(args.reference)[0])
    print(json.dumps(agreement.to_dict(), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
