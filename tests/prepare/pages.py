"""Read a page as a browser would, and complain of what it would only forgive."""

from html.parser import HTMLParser

# Elements that have no end; those of SVG may end themselves.
VOID = {"meta", "img", "br", "hr", "link"}


class Page(HTMLParser):
    """A page that was read: its text, its elements, and all addresses in it."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []
        self.elements: list[str] = []
        self.addresses: list[str] = []
        self.names: list[str] = []
        self.sources: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == [], f"never closed: {self._open}"

    @property
    def text(self) -> str:
        """All words that are shown."""
        return " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        """Take an element that begins."""
        self._note(tag, attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        """Take an element that has no end."""
        self._note(tag, attrs)

    def handle_endtag(self, tag):
        """Take an end, which must fit."""
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag

    def handle_data(self, data):
        """Take words."""
        if self._open and self._open[-1] not in ("style", "script"):
            self.words.append(data)

    def _note(self, tag, attrs):
        self.elements.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
                (self.sources if (value or "").startswith("data:") else self.addresses).append(
                    value or ""
                )
            if name == "id":
                self.names.append(value)


def check_self_contained(page: Page, text: str) -> None:
    """Nothing comes from elsewhere, nothing runs, and what is referred to is there, once."""
    assert "http" not in text
    assert "//" not in text.replace("base64,//", "").split("base64,")[0]
    assert "@import" not in text
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.elements)
    assert len(page.names) == len(set(page.names)), "the same id twice"
    for address in page.addresses:
        assert address.startswith("#"), address
        assert address[1:] in page.names, address
