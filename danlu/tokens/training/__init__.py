"""Learning a tokenizer: where words end, counting them on disk, and merges, WordPiece or Unigram from the counts."""
