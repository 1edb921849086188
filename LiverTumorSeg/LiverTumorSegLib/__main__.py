"""``python -m LiverTumorSegLib`` is the command ``livertumorseg``."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
