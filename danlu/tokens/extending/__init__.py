"""New pieces for a tokenizer that a model was trained with, so that old text keeps its ids."""
