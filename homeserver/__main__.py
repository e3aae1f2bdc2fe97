"""`python -m homeserver` is the command `homeserver`."""

import sys

from homeserver.run.cli import main

sys.exit(main())
