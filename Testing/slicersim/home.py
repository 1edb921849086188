"""The files that a Slicer installation has beside its libraries, in a temporary folder."""

import os
import sys
from pathlib import Path

import slicer

# Only the codes that the project uses, under the names of Slicer's own three files.
TERMINOLOGIES = Path(__file__).parent / "terminologies"

# Slicer's launcher (CTKAppLauncher) stays as the parent of the Python that works. It hands input
# and output through, passes no signal on, and itself never ends by one.
LAUNCHER = """#!{python} -IS
import subprocess, sys
code = subprocess.call(["{python}", *sys.argv[1:]])
if code < 0:
    print("error: [{python}] exit abnormally - Report the problem.", file=sys.stderr)
sys.exit(1 if code < 0 else code)
"""


def write_color_file(share):
    """Label volumes ask for a table of this name; Slicer's own is not in slicer-core."""
    folder = share / "ColorFiles"
    folder.mkdir(parents=True)
    colors = [(n * 89 % 256, n * 151 % 256, n * 211 % 256) for n in range(1, 64)]
    lines = ["# Color table file GenericColors.txt", "0 Background 0 0 0 0"]
    lines += [f"{n} region_{n} {r} {g} {b} 255" for n, (r, g, b) in enumerate(colors, 1)]
    (folder / "GenericColors.txt").write_text("\n".join(lines) + "\n")


def provide_python_slicer(home):
    """slicer.util.launchConsoleProcess and others look for PythonSlicer on the PATH."""
    folder = home / "bin"
    folder.mkdir()
    script = folder / "PythonSlicer"
    script.write_text(LAUNCHER.format(python=sys.executable))
    script.chmod(0o755)
    os.environ["PATH"] = str(folder) + os.pathsep + os.environ["PATH"]


def enable_bundles(home):
    """Reading .mrb files asks the scene for a cache folder. The result is to be kept."""
    remote = slicer.vtkMRMLRemoteIOLogic()
    cache = home / "cache"
    cache.mkdir()
    (cache / ".slicer-cache").touch()
    remote.GetCacheManager().SetRemoteCacheDirectory(str(cache))
    remote.SetMRMLScene(slicer.mrmlScene)
    remote.AddDataIOToScene()
    return remote
