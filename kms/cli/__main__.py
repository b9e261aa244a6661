"""``python -m kms.cli``, where the installed ``kms`` is not on the path."""

import sys

from kms.cli import main

sys.exit(main())
