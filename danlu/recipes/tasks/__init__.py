"""The parts of ``danlu task``: settings, records, what each kind of label is, training, texts without labels."""
