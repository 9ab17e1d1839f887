"""Fixtures of the tests of commands."""

from tests.cli.asking import ask as ask
