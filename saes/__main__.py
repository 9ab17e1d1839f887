"""`python -m saes`: the same as `saes`, for environments whose scripts are not on the path."""

from saes.cli.main import main

raise SystemExit(main())
