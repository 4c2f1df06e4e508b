"""`python -m minitl VERB …`."""

import sys

from minitl.cli.main import main

sys.exit(main())
