"""The command `saes`: one module a command, each a thin call of public functions. `main.py` has the table of them."""
