"""Induction heads on a real language model: `interp reproduce induction`, which --help explains."""

import sys

from interp.cli.main import main

sys.exit(main(["reproduce", "induction", *sys.argv[1:]]))
