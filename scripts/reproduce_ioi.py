"""Indirect object identification on a real language model: `interp reproduce ioi`, which --help explains."""

import sys

from interp.cli.main import main

sys.exit(main(["reproduce", "ioi", *sys.argv[1:]]))
