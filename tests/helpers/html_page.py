"""A page of `parity.page.render` as a parser sees it, and what is wrong with it."""

import json
import re
from html.parser import HTMLParser

VOID = {"meta", "link", "input", "br", "img", "hr"}
# What needs another address to be of use.
ADDRESSES = {"src", "href", "srcset", "action", "formaction", "poster", "data", "background", "ping"}


class Page(HTMLParser):
    """The elements of a page in order, each with its tag, attributes and text; `faults` in words.

    Args:
        html: The page in UTF-8.
    """

    def __init__(self, html):
        super().__init__()
        self.elements, self.open, self.faults = [], [], []
        text = html.decode("utf-8")
        self.feed(text)
        self.close()
        self.faults += [f"<{each['tag']}> is not closed" for each in self.open]
        if not text.startswith("<!DOCTYPE html>"):
            self.faults.append("no doctype")
        self._check_references()

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        self.faults += [f"<{tag}> has {name} twice" for name in set(names) if names.count(name) > 1]
        self.faults += [f"<{tag}> has a handler {name}" for name in names if name.startswith("on")]
        each = {"tag": tag, "text": "", **dict(attributes)}
        self.elements.append(each)
        if tag not in VOID:
            self.open.append(each)

    def handle_endtag(self, tag):
        if not self.open or self.open[-1]["tag"] != tag:
            self.faults.append(f"</{tag}> closes {self.open[-1]['tag'] if self.open else 'nothing'}")
        if tag in [each["tag"] for each in self.open]:
            while self.open.pop()["tag"] != tag:
                pass

    def handle_data(self, text):
        for each in self.open:
            each["text"] += text

    def all(self, tag, **attributes):
        """The elements of a tag with these attributes."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [
            each
            for each in self.elements
            if each["tag"] == tag and all(each.get(name) == value for name, value in wanted.items())
        ]

    @property
    def data(self):
        """The data that the page's script reads."""
        return json.loads(self.all("script", type="application/json")[0]["text"])

    def _check_references(self):
        identities = [each["id"] for each in self.elements if "id" in each]
        self.faults += [f"id {name} twice" for name in set(identities) if identities.count(name) > 1]
        for each in self.elements:
            for name in ("for", "aria-labelledby", "aria-describedby", "aria-controls"):
                self.faults += [
                    f"{name} of <{each['tag']}> names {word}, which is not there"
                    for word in each.get(name, "").split()
                    if word not in identities
                ]
            for name in ADDRESSES & each.keys():
                if not re.match(r"#|data:", each[name]):
                    self.faults.append(f"{name} of <{each['tag']}> is {each[name]}")
            if each["tag"] in ("select", "input") and not self.all("label", for_=each["id"]):
                self.faults.append(f"<{each['tag']}> has no label")
        for each in [*self.all("style"), *(script for script in self.all("script") if "type" not in script)]:
            self.faults += re.findall(
                r"url\(|@import|https?:|//[a-z]|fetch\(|XMLHttp|import\(|innerHTML|eval\(", each["text"]
            )
