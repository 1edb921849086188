"""``python -m LiverTumorSegLib`` is the command ``livertumorseg``."""

import sys

from .cli import main

sys.exit(main())
