"""Drop pages by where they come from: lists of hosts, of addresses and of words in addresses.

Words are looked for as RefinedWeb does (Penedo et al. 2023, appendix G): one *hard* word is enough, of *soft* ones it
takes two of a kind. A word counts where it stands by itself (there is no ``sex`` in ``essex``), a Chinese one anywhere,
also in percent and Punycode spelling; a *fragment* anywhere in the host's name. The built-in categories are small on
purpose, a first pass over a crawl; a block list that others keep up to date is a file of the user's.

Left out: downloading lists (they are larger than Danlu and change daily), and words of other languages.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, NamedTuple, get_args
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from danlu.base.errors import UserError, nearest
from danlu.base.files import existing
from danlu.text.document import Document, Dropped

Category = Literal["adult", "gambling", "spam"]
Table = NDArray[np.uint64]  # sorted hashes

SCHEME = re.compile(r"^(?:[a-z][a-z0-9+.-]*:)?//+|^https?:", re.IGNORECASE)
SIGNS = re.compile(r"[\W_]+")
CHINESE = re.compile(r"[\u3400-\u9fff]")
HOSTS_FILE = re.compile(r"^(?:0\.0\.0\.0|127\.0\.0\.1|::1?)\s+(?=\S)")  # the address that a hosts file sends them to
OWN_HOSTS = frozenset(["localhost", "localhost.localdomain", "local", "broadcasthost", "0.0.0.0"])
# Top-level domains that reports on abuse (Spamhaus, Interisle) put first again and again; each counts as a soft word.
SPAM_ENDINGS = (
    "accountant bid buzz cam cf click cricket cyou date download faith ga gq icu loan men ml party racing rest review"
    " stream tk top trade win work"
)


@dataclass(frozen=True)
class Words:
    """One of ``hard`` is enough, or some of ``soft``; ``phrases`` are hard ones of several words, or Chinese."""

    hard: frozenset[str] = frozenset()
    soft: frozenset[str] = frozenset()
    fragments: tuple[str, ...] = ()
    endings: frozenset[str] = frozenset()
    phrases: tuple[str, ...] = field(init=False, default=())
    soft_phrases: tuple[str, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        """Words that are no single run of letters are looked for in the text, the others in a set."""
        for words, phrases in (("hard", "phrases"), ("soft", "soft_phrases")):
            given: frozenset[str] = getattr(self, words)
            whole = frozenset(word for word in given if not CHINESE.search(word) and not SIGNS.search(word))
            rest = (word if CHINESE.search(word) else f" {SIGNS.sub(' ', word).strip()} " for word in given - whole)
            object.__setattr__(self, words, whole)
            object.__setattr__(self, phrases, tuple(sorted(word for word in rest if word.strip())))


def _words(hard: str, soft: str, fragments: str, endings: str = "") -> Words:
    return Words(frozenset(hard.split()), frozenset(soft.split()), tuple(fragments.split()), frozenset(endings.split()))


OWN: dict[str, Words] = {
    "adult": _words(
        "xxx porn porno pornos pornography hentai milf milfs blowjob camgirl camgirls camsex sexcam sexcams"
        " 色情 成人电影 成人電影 黄片 黃片 裸聊 约炮 約炮 无码 無碼 情色",
        "sex sexy adult nude nudes naked erotic erotica fetish teen teens babes cam cams escort escorts amateur nsfw"
        " shemale webcam 成人 激情 美女 一夜情",
        "pornhub xvideos xhamster youporn redtube xnxx brazzers chaturbate onlyfans rule34 hentai",
    ),
    "gambling": _words(
        "baccarat sportsbook sportsbooks bookmakers slotgacor togel baijiale"
        " 赌场 賭場 博彩 百家乐 百家樂 时时彩 時時彩 六合彩 老虎机 老虎機",
        "casino casinos bet bets betting poker slot slots lottery gambling wager odds bonus bingo roulette jackpot"
        " bocai caipiao 彩票 彩金 投注 开奖 開獎",
        "onlinecasino casinoonline bet365 1xbet pokerstars slot777 slot88",
    ),
    "spam": _words(
        "viagra cialis levitra 代开发票 代開發票",
        "cheap replica outlet pills payday loan loans essay essays backlinks crack keygen warez torrent"
        " 发票 發票 代写 代寫",
        "viagra paydayloan buyessay",
        SPAM_ENDINGS,
    ),
}


class Address(NamedTuple):
    """An address taken apart."""

    host: str  # in ASCII, without user and port, '' if there is none
    spoken: str  # the host as people read it
    rest: str  # path and query, percent signs resolved


@dataclass(frozen=True)
class UrlFilter:
    """Drop documents by ``meta["url"]``; one without an address is kept."""

    categories: tuple[Category, ...] = ("adult", "gambling", "spam")
    """The built-in lists of words that are used."""
    domains: tuple[Path, ...] = ()
    """Files of hosts to drop, with all hosts below them: one a line, or hosts files."""
    urls: tuple[Path, ...] = ()
    """Files of single addresses to drop."""
    words: tuple[Path, ...] = ()
    """Files of words, one of which in an address is enough to drop it."""
    soft_words: tuple[Path, ...] = ()
    """Files of words that drop an address together with others."""
    soft_limit: int = 2
    """How many different soft words of one list it takes."""
    allowed: tuple[Path, ...] = ()
    """Files of hosts that are kept whatever the other lists say, with all hosts below them."""

    def __post_init__(self) -> None:
        """A `UserError` names the first key whose value makes no sense, or the first file that is missing."""
        for category in self.categories:
            if category not in OWN:
                remedy = nearest(category, get_args(Category))
                raise UserError(f"unknown category '{category}'", where="recipe: categories", remedy=remedy)
        if self.soft_limit < 1:
            raise UserError(f"must be at least 1, found {self.soft_limit}", where="recipe: soft_limit")
        for path in self.files:
            if existing(path, remedy="Give a text file with one entry a line").is_dir():
                raise UserError("is a folder, not a list", where=path, remedy="Name the files in it")

    @property
    def files(self) -> tuple[Path, ...]:
        """Every list that is read: what decides the result beside the settings."""
        return (*self.domains, *self.urls, *self.words, *self.soft_words, *self.allowed)

    def __call__(self, document: Document) -> Document | Dropped:
        """The document, or ``url_domain``, ``url_listed``, ``url_word`` or ``url_soft_words``."""
        url = document.meta.get("url")
        if not isinstance(url, str) or not url.strip():
            return document
        url = url.encode("utf-8", "replace").decode()  # what is said of it must fit in a report
        address = parse(url)
        if self.allowed and _below(address.host, _hosts(self.allowed)):
            return document
        if self.domains and (host := _below(address.host, _hosts(self.domains))):
            return Dropped("url_domain", host)
        if self.urls and _holds(_urls(self.urls), _exact(address)):
            return Dropped("url_listed", url)
        return self._worded(address) or document

    def _worded(self, address: Address) -> Dropped | None:
        words = SIGNS.sub(" ", f"{address.spoken} {address.rest.lower()}")
        said, text = frozenset(words.split()), f" {words} "
        lists: list[tuple[str, Words]] = [(category, OWN[category]) for category in self.categories]
        if self.words or self.soft_words:
            lists.append(("list", _listed(self.words, self.soft_words)))
        for name, known in lists:
            hard = sorted(said & known.hard) or [phrase.strip() for phrase in known.phrases if phrase in text]
            hard = hard or [part for part in known.fragments if part in address.host]
            if hard:
                return Dropped("url_word", f"{hard[0]} ({name})")
        for name, known in lists:
            soft = sorted(said & known.soft) + [phrase.strip() for phrase in known.soft_phrases if phrase in text]
            ending = address.host.rpartition(".")[2]
            soft += [f".{ending}"] if ending in known.endings else []
            if len(soft) >= self.soft_limit:
                return Dropped("url_soft_words", f"{' '.join(soft)} ({name})")
        return None


def parse(url: str) -> Address:
    """An address of any spelling, never an error: scheme, user, port and fragment are left out."""
    url = SCHEME.sub("", url.strip(), count=1)
    end = re.search(r"[/?#\\]", url)
    authority, rest = (url[: end.start()], url[end.start() :]) if end else (url, "")
    authority = unquote(authority).rpartition("@")[2]
    if authority.startswith("["):  # IPv6
        host = authority[1:].partition("]")[0]
    else:
        host = authority.partition(":")[0]
    host = _ascii(host)
    return Address(host, _spoken(host), unquote(rest.partition("#")[0]))


def _ascii(host: str) -> str:
    """In lower case and Punycode (IDNA 2003); a label that cannot be written so stays as it is."""
    host = host.strip().strip(".").lower()
    if host.isascii():
        return host
    labels = []
    for label in re.split("[.。．｡]", host):
        try:
            labels.append(label.encode("idna").decode())
        except UnicodeError:
            labels.append(label)
    return ".".join(labels)


def _spoken(host: str) -> str:
    if "xn--" not in host:
        return host
    labels = []
    for label in host.split("."):
        try:
            labels.append(label.encode().decode("idna"))
        except UnicodeError:
            labels.append(label)
    return ".".join(labels)


def _above(host: str) -> Iterator[str]:
    """The host and every domain it lies in; an IP address lies in none."""
    yield host
    try:
        ip_address(host)
    except ValueError:
        while "." in host:
            host = host.partition(".")[2]
            yield host


def _exact(address: Address) -> str:
    return f"{address.host.removeprefix('www.')}{address.rest.rstrip('/')}"


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def _table(entries: Iterator[str]) -> Table:
    """Eight bytes an entry: lists of four million hosts are common, and every worker holds one."""
    return np.unique(np.fromiter(map(_hash, entries), np.uint64))


def _holds(table: Table, text: str) -> bool:
    key = np.uint64(_hash(text))
    place = int(np.searchsorted(table, key))
    return place < len(table) and bool(table[place] == key)


def _below(host: str, table: Table) -> str:
    """The entry that the host is, or lies below; '' if there is none."""
    return next((above for above in _above(host) if _holds(table, above)), "") if host else ""


def _lines(paths: tuple[Path, ...]) -> Iterator[str]:
    """What stands in the lists, without comments."""
    for path in paths:
        with open(path, encoding="utf-8-sig", errors="replace") as handle:
            for line in handle:
                entry = re.split(r"(?:^|\s)[#!]", line, maxsplit=1)[0].strip()
                if entry and not entry.startswith("["):  # [Adblock Plus 2.0]
                    yield entry


@lru_cache(maxsize=4)
def _hosts(paths: tuple[Path, ...]) -> Table:
    """The hosts of plain lists, hosts files and ``||host^`` lists; of an address in them, its host."""
    named = (name for line in _lines(paths) for name in HOSTS_FILE.sub("", line).split())
    hosts = (parse(name.removeprefix("||").removesuffix("^").removeprefix("*.")).host for name in named)
    return _table(host for host in hosts if host and host not in OWN_HOSTS)


@lru_cache(maxsize=4)
def _urls(paths: tuple[Path, ...]) -> Table:
    return _table(_exact(parse(line)) for line in _lines(paths))


@lru_cache(maxsize=4)
def _listed(hard: tuple[Path, ...], soft: tuple[Path, ...]) -> Words:
    return Words(frozenset(map(str.lower, _lines(hard))), frozenset(map(str.lower, _lines(soft))))
