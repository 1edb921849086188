"""The key image: a lesion where it is widest, its diameters drawn where they were measured."""

from __future__ import annotations

import cv2
import numpy as np
from LiverTumorSegLib.phantom.phantom import make_phantom
from LiverTumorSegLib.result.lesions import measure
from LiverTumorSegLib.result.overview.key_image import (
    CALIPER,
    HEIGHT,
    WIDTH,
    draw_key_image,
    encode_jpeg,
)
from LiverTumorSegLib.result.overview.scene import OverviewScene
from LiverTumorSegLib.volume import CtVolume, Reorientation

PHANTOM = make_phantom(seed=7, shape_kji=(36, 80, 80), spacing_kji_mm=(8.0, 5.0, 5.0))


def test_calipers_are_as_long_on_the_picture_as_they_say() -> None:
    """Both diameters at one scale, and at least 120 mm of tissue shown around them."""
    measures = measure(PHANTOM.labels, PHANTOM.ct)
    case = OverviewScene.of(PHANTOM.ct, PHANTOM.labels, None, measures)
    assert measures.lesions
    for lesion in measures.lesions:
        image = draw_key_image(case, lesion)
        assert image.shape == (HEIGHT, WIDTH, 3)
        drawn = (np.abs(image.astype(int) - CALIPER).max(axis=2) < 60)[
            HEIGHT // 4 :, : WIDTH * 7 // 10
        ]
        (_, size, _) = cv2.minAreaRect(np.argwhere(drawn).astype(np.float32))
        ends = sorted(size)
        wanted = sorted((lesion.perpendicular_diameter_mm, lesion.longest_axial_diameter_mm))
        pixels_a_mm = ends[1] / wanted[1]
        assert 2.0 < pixels_a_mm < HEIGHT / 100
        assert abs(ends[0] - wanted[0] * pixels_a_mm) < 12


def test_a_ct_stored_another_way_gives_the_same_picture() -> None:
    first = measure(PHANTOM.labels, PHANTOM.ct)
    expected = draw_key_image(
        OverviewScene.of(PHANTOM.ct, PHANTOM.labels, None, first), first.lesions[0]
    )
    turn = Reorientation((1, 2, 0), (True, False, True), PHANTOM.ct.shape_kji)
    ct = CtVolume(turn.apply(PHANTOM.ct.hu), turn.apply_affine(PHANTOM.ct.ijk_to_ras))
    labels = turn.apply(PHANTOM.labels)
    measures = measure(labels, ct)
    image = draw_key_image(OverviewScene.of(ct, labels, None, measures), measures.lesions[0])
    np.testing.assert_array_equal(image, expected)
    assert cv2.imdecode(np.frombuffer(encode_jpeg(image), np.uint8), -1).shape == image.shape
