"""``python -m microbleeds`` is ``cmbdetect``."""

import sys

from .cli import main

sys.exit(main())
