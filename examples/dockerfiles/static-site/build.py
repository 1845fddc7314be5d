"""Turns each page.md of a directory into a page.html of another."""

import sys
from pathlib import Path

import markdown

source, target = map(Path, sys.argv[1:])
pages = sorted(source.glob("*.md"))
links = " ".join(f'<a href="{page.stem}.html">{page.stem}</a>' for page in pages)
target.mkdir(parents=True, exist_ok=True)
for page in pages:
    body = markdown.markdown(page.read_text())
    (target / f"{page.stem}.html").write_text(f"<!doctype html>\n<nav>{links}</nav>\n{body}\n")
