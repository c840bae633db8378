"""`python -m integration.cli`, for those who have no script on their path."""

import sys

from integration.cli.shell import main

if __name__ == "__main__":
    sys.exit(main())
