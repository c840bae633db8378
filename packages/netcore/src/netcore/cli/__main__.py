"""Run the command line with `python -m netcore.cli`."""

import sys

from netcore.cli.shell import main

sys.exit(main())
