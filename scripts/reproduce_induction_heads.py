"""Induction heads on a real language model; the same as `interp reproduce induction`, which --help explains."""

import sys

from interp.cli.main import main

sys.exit(main(["reproduce", "induction", *sys.argv[1:]]))
