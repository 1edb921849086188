"""The container's recipe names what there is: files, extras, the command and its words.

Whether it builds, only Docker shows; its one step that can fail is ``install.sh``, which runs
without Docker too.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from LiverTumorSegLib.cli.parser import build_parser

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "Resources" / "Docker"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def instructions() -> list[tuple[str, str]]:
    """Word and rest of each instruction of the Dockerfile."""
    text = (RECIPE / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def test_everything_that_the_build_needs_is_copied(tmp_path: Path) -> None:
    """What pyproject.toml refers to lies where it looks for it."""
    copied = set()
    for word, rest in instructions():
        if word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                assert (ROOT / source).exists(), source
                name = Path(source).name
                place = f"{target}{name}" if target.endswith("/") else target
                copied.add(place.removeprefix("/src/"))
    assert {"pyproject.toml", PROJECT["project"]["readme"], "install.sh"} <= copied
    for path in PROJECT["project"]["license-files"]:
        assert any(Path(path).is_relative_to(place) for place in copied), path
    (package_folder,) = PROJECT["tool"]["setuptools"]["package-dir"].values()
    assert f"{package_folder}/LiverTumorSegLib" in copied


def test_it_runs_a_command_of_ours_as_somebody_without_rights() -> None:
    said = dict(instructions())
    assert json.loads(said["ENTRYPOINT"]) == list(PROJECT["project"]["scripts"])
    args = build_parser().parse_args(json.loads(said["CMD"]))
    assert (args.command, str(args.input), str(args.output)) == ("batch", "/in", "/out")
    assert said["USER"] not in ("0", "root", "0:0")


def test_the_installation_asks_for_extras_that_exist_and_is_a_shell_script() -> None:
    script = RECIPE / "install.sh"
    (extras,) = re.findall(r"\$source\[([\w,]+)\]", script.read_text(encoding="utf-8"))
    assert set(extras.split(",")) <= PROJECT["project"]["optional-dependencies"].keys()
    subprocess.run(["sh", "-n", str(script)], check=True)
