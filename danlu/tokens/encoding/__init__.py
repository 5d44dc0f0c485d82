"""Texts to ids in worker processes: where a text may be cut without changing its ids, and the parts put together."""
