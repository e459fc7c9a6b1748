"""HTML pages, as tests read them."""

from html.parser import HTMLParser
from pathlib import Path

MOST_BYTES = 5_000_000
LOADING = {"script", "link", "iframe", "object", "form"}


class Page(HTMLParser):
    """A page: its tags, the addresses and ids in them, and its text."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags, self.addresses, self.ids, self.text = [], [], [], ""
        self.source = path.read_text()
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.addresses += [values[name] for name in ("src", "href", "xlink:href", "data", "action") if name in values]

    def handle_data(self, data):
        self.text += data

    def check_that_it_stands_alone(self):
        """Nothing is loaded or run, and a mail can have it."""
        assert not LOADING & set(self.tags)
        assert all(address.startswith(("data:image/", "#chart")) for address in self.addresses)
        assert "default-src 'none'" in self.source
        assert len(self.ids) == len(set(self.ids))
        assert len(self.source) < MOST_BYTES
