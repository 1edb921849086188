"""Labels as the G-UNETR++ authors (Shin et al. 2026) make them of two networks' predictions.

    labels_lps = published_labels(segmenter.predict(ct))

The liver is its largest piece, smoothed; tumor is where the second network is surer than not, and
small pieces of it grow on the network's own pixels, where the published sizes are counted. Nothing
is taken away: neither specks nor tumor outside the liver.
"""

from __future__ import annotations

import numpy as np
from LiverTumorSegLib.inference.postprocess import clean_liver
from LiverTumorSegLib.inference.prediction import Prediction
from LiverTumorSegLib.labels import Label
from numpy.typing import NDArray

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
HALF = 0.5
# published: voxels of a piece on the 256 x 256 x N grid that is smaller -> how often it is dilated
GROWN_ONCE_BELOW, GROWN_TWICE_BELOW = 80, 100


def published_labels(prediction: Prediction) -> Labels:
    """0, 1, 2 (k, j, i) in LPS order; ``ValueError`` for a model of one network."""
    maps = prediction.tumor
    if maps is prediction.liver:
        raise ValueError("The published steps are a cascade's; this model is one network.")
    labels = clean_liver(prediction.liver_lps).astype(np.uint8)
    marked = np.zeros((len(labels), *maps.grid.shape_ji), np.bool_)
    for k, layers in maps.by_slice.items():
        marked[k] = layers[-1] > HALF
    added = grow_small(marked) & ~marked
    for k in range(len(labels)):
        if not marked[k].any() and not added[k].any():
            continue
        layer = np.zeros(maps.grid.shape_ji, np.float32)
        if k in maps.by_slice:
            layer += maps.by_slice[k][-1]
        layer[added[k]] = 1
        labels[k][maps.grid.to_native(layer) > HALF] = Label.TUMOR
    return labels


def grow_small(tumor: Mask) -> Mask:
    """Small pieces dilated, as in the authors' code; a new mask (k, j, i).

    A piece of less than 80 voxels grows by one layer over the faces, one of 80 to 99 by two, which
    is how it is published; nothing is taken away.
    """
    from scipy import ndimage

    result, pieces = tumor.copy(), np.zeros(tumor.shape, np.int32)
    ndimage.label(tumor, output=pieces)
    for number, tight in enumerate(ndimage.find_objects(pieces), 1):
        if sum(side.stop - side.start for side in tight) - 2 >= GROWN_TWICE_BELOW:
            continue  # a path of faces from end to end of its box alone has so many voxels
        box = tuple(slice(max(side.start - 2, 0), side.stop + 2) for side in tight)
        piece = pieces[box] == number
        size = np.count_nonzero(piece)
        if size < GROWN_TWICE_BELOW:
            layers = 1 if size < GROWN_ONCE_BELOW else 2
            result[box] |= ndimage.binary_dilation(piece, iterations=layers)
    return result
