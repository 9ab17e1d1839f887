"""`python -m interp.cli`: the same as `interp`, for environments whose scripts are not on the path."""

from interp.cli.main import main

raise SystemExit(main())
