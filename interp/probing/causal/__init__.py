"""Does the model use what a probe finds? The property is taken out, turned around, or exchanged, one method a file."""
