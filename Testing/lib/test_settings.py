"""What all stored settings have in common, told once for each of their kinds."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from LiverTumorSegLib.inference.decision import Decision
from LiverTumorSegLib.inference.postprocess import Postprocessing
from LiverTumorSegLib.inference.preprocess import SlicePreprocessing
from LiverTumorSegLib.inference.preprocess_volume import VolumePreprocessing
from LiverTumorSegLib.settings import RunSettings, Settings

ALL: list[Settings] = [
    Decision(tumor_threshold=0.7, smoothing_mm=2.0, seed_threshold=0.9, calibration=(1.5, -0.25)),
    Postprocessing(clean_liver=True, smallest_lesion_mm=3.0),
    SlicePreprocessing(window_hu=(-100, 200), gamma=1.0),
    VolumePreprocessing(liver_margin_mm=3.5, mask_as_channel=True),
]


def test_settings_come_back_from_json_as_they_were() -> None:
    for settings in ALL:
        stored = json.loads(json.dumps(settings.to_dict()))
        assert type(settings).from_dict(stored) == settings
        assert type(settings).from_dict({}) == type(settings)()


def test_what_this_version_does_not_know_is_refused() -> None:
    for settings in ALL:
        with pytest.raises(ValueError, match=f"Unknown {settings.NOUN} settings: fill_holes"):
            type(settings).from_dict({"fill_holes": True})
        with pytest.raises(ValueError, match="kind"):
            type(settings).from_dict({"kind": "another"})


def test_no_number_is_negative_or_infinite_and_no_switch_is_a_number() -> None:
    for settings in ALL:
        for field in fields(settings):
            kind = str(field.type).partition(" | ")[0]
            wrong: dict[str, list[Any]] = {
                "float": [-1.0, float("nan"), float("inf"), True, "3"],
                "int": [-1, 2.5, True, "3"],
                "bool": [1, None, "yes"],
            }
            for value in wrong.get(kind, []):
                with pytest.raises(ValueError, match=f"{field.name} is .*; (give|use) "):
                    replace(settings, **{field.name: value})


def test_what_earlier_versions_stored_is_read() -> None:
    old = {"tumor_share": 0.9, "smoothing_mm": 0.0, "confidence": [1.0, 0.5]}
    assert Decision.from_dict(old) == Decision(tumor_threshold=0.9, calibration=(1.0, 0.5))
    slices = {"liver_margin_mm": 7.0, "largest_liver_component": False}
    assert Postprocessing.from_dict(slices) == Postprocessing(
        largest_liver_component=False, max_distance_to_liver_mm=7.0
    )
    cascade = {"kind": "cascade", "grow_small_tumors": False, "liver_margin_mm": 20.0}
    assert Postprocessing.from_dict(cascade) == Postprocessing(
        clean_liver=True, max_distance_to_liver_mm=20.0, smallest_lesion_mm=3.0
    )
    loose = Postprocessing.from_dict({**cascade, "tumor_inside_liver": False})
    assert not loose.largest_liver_component
    with pytest.raises(ValueError, match="grows no small tumors"):
        Postprocessing.from_dict({**cascade, "grow_small_tumors": True})


def test_the_settings_of_a_run_survive_the_command_line() -> None:
    for values in (
        {},
        {"model": "a b.safetensors", "device": "cuda:1", "coarse_search": False},
        {"probabilities": True, "smallest_lesion_mm": 0.0},
        {"smallest_lesion_mm": 1e-07},
        {"sensitivity": -2},
        {"sensitivity": 3, "device": "cpu"},
        {"tumor_threshold": 0.35},
    ):
        settings = RunSettings(**values)
        assert RunSettings.from_arguments(settings.to_arguments()) == settings
        assert RunSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    assert RunSettings().to_arguments() == []


def test_settings_of_a_run_that_cannot_be_are_refused() -> None:
    for name, value in (
        *(("model", ""), ("model", 5), ("device", ""), ("device", None)),
        *(("coarse_search", 1), ("probabilities", "yes")),
        *(("tumor_threshold", 0.0), ("tumor_threshold", "high"), ("sensitivity", 1.5)),
        *(("sensitivity", 1000), ("sensitivity", None), ("sensitivity", True)),
        *(("smallest_lesion_mm", -1.0), ("smallest_lesion_mm", float("nan"))),
    ):
        with pytest.raises(ValueError, match=f"^{name} is "):
            RunSettings(**{name: value})
    with pytest.raises(ValueError, match="not both"):
        RunSettings(sensitivity=1, tumor_threshold=0.5)
