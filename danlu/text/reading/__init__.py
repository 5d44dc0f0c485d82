"""How inputs become documents: finding files, opening them safely, one module for each format."""
