"""Fixtures of the tests of commands."""

from tests.cli.asking import ask as ask
from tests.cli.saved_models import llama as llama
