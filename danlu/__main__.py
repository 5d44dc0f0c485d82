"""``python -m danlu``: the same as the command ``danlu``."""

import sys

from danlu.cli import main

if __name__ == "__main__":
    sys.exit(main())
