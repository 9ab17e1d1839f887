"""What weights say by themselves, and over real inputs: spectra, directions as words, virtual weights, graphs."""
