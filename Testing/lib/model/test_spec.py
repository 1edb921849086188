"""The description of a model, written and read without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from LiverTumorSegLib.model.spec import BundleError, ModelSpec, file_sha256, read_spec
from looped import looped

PACKAGE_FOLDER = Path(__file__).resolve().parents[3] / "LiverTumorSeg"


@pytest.fixture
def spec() -> ModelSpec:
    return ModelSpec(
        name="tiny",
        version="1.0",
        net="hybrid2d",
        net_args={"width": 8, "sizes": (1, 2)},
        preprocessing={"preset": "window", "gamma": 1.2},
        labels={"background": 0, "liver": 1, "tumor": 2},
        training_hu_range=(-40, 160),
        postprocessing={"largest_liver": True},
        provenance={"licence": "CC BY-NC-SA 4.0", "scores": {"liver Dice": 0.9}},
        storage="int8",
    )


def model_bytes(spec_text: object, data: bytes = b"\0" * 8, end: int = 8) -> bytes:
    """A safetensors file by hand: the format's own definition, not its library."""
    tensor = {"dtype": "F32", "shape": [end // 4], "data_offsets": [0, end]}
    header = json.dumps({"__metadata__": {"spec": spec_text}, "weight": tensor}).encode()
    return len(header).to_bytes(8, "little") + header + data


def test_equal_after_json_and_equal_text_for_equal_specs(spec: ModelSpec) -> None:
    copy = ModelSpec.from_json(spec.to_json())
    assert copy == spec
    assert copy.training_hu_range == (-40.0, 160.0)
    turned = replace(spec, labels=dict(reversed(spec.labels.items())))
    assert turned.to_json() == spec.to_json()
    assert ModelSpec.from_json(replace(spec, training_hu_range=None).to_json()) == replace(
        spec, training_hu_range=None
    )


def test_spec_does_not_follow_later_changes_of_what_it_was_made_from(spec: ModelSpec) -> None:
    scores = {"dice": 0.5}
    made = replace(spec, provenance={"scores": scores})
    scores["dice"] = 0.99
    assert made.provenance["scores"]["dice"] == 0.5


def test_a_decision_is_written_only_if_there_is_one(spec: ModelSpec) -> None:
    """A file of an earlier version has none, and is the same bytes when written again."""
    earlier = json.loads(spec.to_json())
    assert "decision" not in earlier
    assert ModelSpec.from_json(json.dumps(earlier)).decision == {}
    decided = replace(spec, decision={"tumor_threshold": 0.7, "confidence": (1.5, -0.25)})
    assert json.loads(decided.to_json())["decision"]["confidence"] == [1.5, -0.25]
    assert ModelSpec.from_json(decided.to_json()) == decided
    assert replace(decided, decision={}).to_json() == spec.to_json()


@looped(
    "wrong",
    [
        {"name": ""},
        {"storage": "int4"},
        {"labels": {"background": 0, "tumor": 2}},
        {"labels": {"liver": 0, "background": 1}},
        {"labels": {"background": 0, "liver": 1.0}},
        {"training_hu_range": (160, -40)},
        {"training_hu_range": (0, float("nan"))},
        {"training_hu_range": 5},
        {"net_args": {"width": float("inf")}},
        {"net_args": {"width": object()}},
        {"preprocessing": None},
        {"decision": None},
        {"decision": {"tumor_threshold": float("nan")}},
        {"provenance": {"liver_hu": [125, 64]}},
        {"provenance": {"liver_hu": "bright"}},
        {"provenance": {"train": 5}},
        {"provenance": {"val": "3"}},
        {"provenance": {"split_group_by": []}},
        {"provenance": {"scores": None}},
        {"tta": 1},
        {"pair": {"liver": 1}},
    ],
)
def test_wrong_values_are_refused(spec: ModelSpec, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|unknown|cannot keep|only 1|another kind"):
        replace(spec, **wrong)


@looped(
    ("change", "says"),
    [
        ({"engine": "x"}, "'engine'.*newer version.*Update"),
        ({"format": 3}, "format is 3.*newer version.*Update"),
        ({"format": 2}, "format is 2, not 1"),
        ({"net": 7}, "net must be a text.*use another one"),
        ({"labels": {"liver": 3}}, "background as 0"),
    ],
)
def test_json_of_another_kind_is_refused(
    spec: ModelSpec, change: dict[str, Any], says: str
) -> None:
    with pytest.raises(BundleError, match=says):
        ModelSpec.from_json(json.dumps({**json.loads(spec.to_json()), **change}))


@looped("text", ["", "{", "[]", "[" * 100_000, '{"name": "only"}'])
def test_text_that_is_no_spec_is_refused(text: str) -> None:
    with pytest.raises(BundleError, match="Get the file again"):
        ModelSpec.from_json(text)


def test_spec_is_read_from_the_header(spec: ModelSpec, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(model_bytes(spec.to_json()))
    assert read_spec(path) == spec


@looped(
    ("content", "says"),
    [
        (b"", "not a model file"),
        (b"\0" * 9, "not a model file"),
        (b"some text that is long enough", "not a model file"),
        (b"PK\x03\x04" + b"\0" * 40, "pickled checkpoint.*never read"),
        (b"\x80\x02}q\x00." + b"\0" * 40, "pickled checkpoint.*never read"),
        (model_bytes("{}")[:60], "cut off inside its header"),
        (model_bytes("{}")[:-3], "cut off: 3 bytes are missing"),
        (model_bytes("{}") + b"12", "2 bytes too many"),
        (b"\xff" * 7 + b"\x7f{}", "header is damaged"),
        (b"\x05" + b"\0" * 7 + b"{oops", "header is damaged"),
        (b'\x0d\0\0\0\0\0\0\0{"weight": 3}', "header is damaged"),
        (b"\x02\0\0\0\0\0\0\0{}", "not what they are for"),
        (model_bytes(None), "not what they are for"),
        (model_bytes({"name": "as an object"}), "not what they are for"),
    ],
)
def test_broken_files_say_what_to_do(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=f"model.safetensors: .*{says}"):
        read_spec(path)


def test_every_cut_is_noticed(spec: ModelSpec, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    whole = model_bytes(spec.to_json())
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(BundleError):
            read_spec(path)


def test_no_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(BundleError, match="no such model file"):
            read_spec(path)


def test_sha256_is_that_of_the_standard(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_sha256(path) == known


def test_imports_the_standard_library_only() -> None:
    code = (
        "import sys; before = set(sys.modules); import LiverTumorSegLib.model.spec;"
        "new = {name.split('.')[0] for name in set(sys.modules) - before};"
        "print(sorted(new - set(sys.stdlib_module_names) - {'LiverTumorSegLib'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE_FOLDER, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
