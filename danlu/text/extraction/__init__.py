"""From the HTML of a page to the text that a reader came for: markup, then content, then plain text; and its facts."""
