"""The settings of reading, as they stand in a recipe, and the limits that keep memory and time bounded."""

from dataclasses import dataclass

from danlu.base.errors import require


@dataclass(frozen=True)
class Reading:
    """How inputs are read; every limit costs what exceeds it, never the run."""

    text_column: str = "text"
    """The key that holds the text in JSON, Parquet and CSV records."""
    id_columns: tuple[str, ...] = ("id",)
    """The keys that may hold a record's own identifier; the first that does is used."""
    url_columns: tuple[str, ...] = ("url",)
    """The keys that may hold a record's address, here and in a nested 'metadata' or 'meta'."""
    date_columns: tuple[str, ...] = ("date", "timestamp")
    """The keys that may hold a record's date."""
    title_columns: tuple[str, ...] = ("title",)
    """The keys that may hold a record's title."""
    encoding: str = "auto"
    """The encoding of text files, or 'auto': UTF-8 first, then what a file declares, then what its bytes look like."""
    repair: bool = True
    """Undo double encoding, where UTF-8 was once taken for Windows-1252 or GB18030 (cafÃ© → café)."""
    piece_characters: int = 65_536
    """A longer text file comes as several documents of about this length, cut at blank lines."""
    follow_links: bool = False
    """Enter the folders that links inside a folder lead to; each is read once. Links to files are always read."""
    max_record_bytes: int = 1 << 26
    """A longer line, record, page or web response is skipped."""
    max_decompressed_bytes: int = 1 << 38
    """What a compressed file may unpack to; the rest is skipped."""
    max_ratio: float = 200.0
    """How many times its size a compressed file may unpack to, beyond the first 16 MB; text reaches 3 to 30."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense."""
        names = (self.id_columns, self.url_columns, self.date_columns, self.title_columns)
        require(
            self,
            ("text_column", self.text_column != "", "must not be empty"),
            ("id_columns", all(self.id_columns), "must not hold an empty name"),
            ("url_columns", all(self.url_columns), "must not hold an empty name"),
            ("date_columns", all(self.date_columns), "must not hold an empty name"),
            ("title_columns", all(all(columns) for columns in names), "must not hold an empty name"),
            ("encoding", self.encoding == "auto" or _is_encoding(self.encoding), "must be 'auto' or an encoding"),
            ("piece_characters", self.piece_characters >= 1, "must be at least 1"),
            ("max_record_bytes", self.max_record_bytes >= 1, "must be at least 1"),
            ("max_decompressed_bytes", self.max_decompressed_bytes >= 1, "must be at least 1"),
            ("max_ratio", self.max_ratio >= 1, "must be at least 1"),
        )


def _is_encoding(name: str) -> bool:
    try:
        b"a".decode(name, "replace")
    except (LookupError, ValueError):  # ValueError: a null character in the name
        return False
    return True
