"""What is left of markup in text that should have none: each language has a switch of its own.

Markdown, wiki text and LaTeX are also how people write, so these are off unless asked for; code between back quotes
is never touched. What encloses text goes and the text stays; what shows no text (images, templates, labels) goes whole.
"""

import html
import re
from typing import Literal, get_args

from danlu.text.prose import Count, replace

Markup = Literal["entities", "tags", "bbcode", "wiki", "markdown", "latex"]
MARKUPS: tuple[Markup, ...] = get_args(Markup)

AMPERSANDS = re.compile("&(?:amp;|#0*38;|#[xX]0*26;)+")  # &amp;amp;lt; is &lt; escaped twice
ENTITY = re.compile("&(?:[A-Za-z][A-Za-z0-9]{1,30}|#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6});")

BLOCK = (
    "p|div|br|hr|li|ul|ol|dl|dt|dd|tr|table|thead|tbody|tfoot|h[1-6]|section|article|header|footer|nav|aside|main"
    "|blockquote|pre"
)
INLINE = (
    "a|abbr|b|big|body|button|caption|center|cite|code|col|colgroup|del|em|fieldset|figcaption|figure|font|form|head|html|i"
    "|iframe|img|input|ins|kbd|label|legend|link|meta|noscript|object|option|param|q|s|samp|script|select|small|span|strike"
    "|strong|style|sub|sup|svg|td|textarea|th|title|tt|u|var|video|audio|source|path|picture"
)
TAG = re.compile(
    rf"</?(?:(?P<block>{BLOCK})|{INLINE})(?:\s[^<>]{{0,1000}})?/?>|<!DOCTYPE[^<>]{{0,300}}>", re.IGNORECASE
)

BB_PAIR = (
    "b|i|u|s|url|img|quote|code|color|size|font|list|center|left|right|email|align|table|tr|td|th|spoiler|hide|indent"
    "|youtube|media|attach|flash"
)
BB_CLOSE = re.compile(rf"\[/({BB_PAIR})\]", re.IGNORECASE)
BB_IMAGE = re.compile(
    r"\[(img|attach|media|flash|youtube)(?:=[^\]\n]{0,100})?\][^\[\]\n]{0,1000}\[/\1\]", re.IGNORECASE
)

WIKI = (
    (re.compile(r"<ref[^<>]{0,300}/>|<ref[^<>]{0,300}>[^<]{0,2000}</ref>"), ""),
    (re.compile(r"\{\{[^{}]{0,4000}\}\}"), ""),
    (
        re.compile(
            r"\[\[(?:File|Image|Category|Media|文件|档案|图像|图片|分类|Datei|Fichier):[^\[\]]{0,1000}\]\]", re.I
        ),
        "",
    ),
    (re.compile(r"\[\[(?:[^\[\]|\n]{0,300}\|)?([^\[\]|\n]{0,300})\]\]"), r"\1"),
    (re.compile(r"\[(?:https?|ftp)://[^\s\]]{1,1000} ([^\[\]\n]{1,300})\]"), r"\1"),
    (re.compile(r"'''''(.{1,300}?)'''''|'''(.{1,300}?)'''|''(.{1,300}?)''"), r"\1\2\3"),
    (re.compile(r"^(={2,6}) ?([^=\n]{1,200}?) ?\1$", re.M), r"\2"),
    (re.compile(r"^__[A-Z]{3,20}__$", re.M), ""),
)
TARGET = r"\([^()\s]{0,1000}(?:\([^()\s]{0,200}\)[^()\s]{0,200})?(?: \"[^\"\n]{0,300}\")?\)"
MARKDOWN = (
    (re.compile(rf"!\[([^\[\]\n]{{0,300}})\]{TARGET}"), r"\1"),
    (re.compile(rf"\[([^\[\]\n]{{0,300}})\]{TARGET}"), r"\1"),
    (re.compile(r"^ {0,3}\[[^\[\]\n]{1,100}\]: {1,4}\S{1,1000}(?: \"[^\"\n]{0,300}\")?$", re.M), ""),
)
UNSEEN = "cite[tp]?|ref|eqref|pageref|label|index|vspace|hspace|bibliography(?:style)?|includegraphics|usepackage"
SEEN = (
    "textbf|textit|texttt|textsc|textrm|textsf|emph|text|underline|mbox|title|author|chapter|(?:sub){0,2}section|paragraph"
    "|footnote|caption|url"
)
BARE = "item|noindent|centering|newpage|clearpage|maketitle|tableofcontents|par|smallskip|medskip|bigskip|hline"
LATEX = (
    (re.compile(rf"\\(?:{UNSEEN})\*?(?:\[[^\[\]\n]{{0,200}}\])?\{{[^{{}}\n]{{0,500}}\}}"), ""),
    (re.compile(r"\\(?:begin|end)\{[A-Za-z*]{1,30}\}(?:\[[^\[\]\n]{0,100}\])?"), ""),
    (re.compile(rf"\\(?:{SEEN})\*?\{{([^{{}}]{{0,2000}})\}}"), r"\1"),
    (re.compile(rf"\\(?:{BARE})(?![A-Za-z]) ?"), ""),
    (re.compile(r"\\([%&#_$])"), r"\1"),
)
WIKI_MARKS = ("[[", "{{", "''", "==", "__", "[http", "<ref")


def strip(text: str, markup: Markup) -> Count:
    """``text`` without what is left of one language, and how many pieces went."""
    match markup:
        case "entities":
            return _entities(text)
        case "tags":
            return _tags(text)
        case "bbcode":
            return _bbcode(text)
        case "wiki":
            return _all(WIKI, text) if any(mark in text for mark in WIKI_MARKS) else (text, 0)
        case "markdown":
            return _all(MARKDOWN, text) if "](" in text or "]: " in text else (text, 0)
        case "latex":
            return _all(LATEX, text) if "\\" in text else (text, 0)


def _all(patterns: tuple[tuple[re.Pattern[str], str], ...], text: str) -> Count:
    total = 0
    for pattern, new in patterns:
        text, number = replace(pattern, new, text)
        total += number
    return text, total


def _entities(text: str) -> Count:
    if "&" not in text or ";" not in text:
        return text, 0

    def ampersand(found: re.Match[str]) -> str:
        return "&" if ENTITY.match(text, found.end() - 1) or found.group().count(";") > 1 else found.group()

    text = replace(AMPERSANDS, ampersand, text)[0]
    return replace(ENTITY, lambda found: html.unescape(found.group()), text)


def _tags(text: str) -> Count:
    if "<" not in text or ">" not in text:
        return text, 0
    text, whole = _between(text, "<!--", "-->")
    for name in ("script", "style"):
        text, number = _between(text, f"<{name}", f"</{name}>")
        whole += number
    text, tags = replace(TAG, lambda found: "\n" if found["block"] else "", text)
    return text, whole + tags


def _between(text: str, opening: str, closing: str) -> Count:
    """Without the stretches from ``opening`` to ``closing``; one that never closes stays, for it may be text."""
    if closing not in text:
        return text, 0
    parts, done, number = [], 0, 0
    start = text.find(opening)
    while start >= 0 and (end := text.find(closing, start)) >= 0:
        parts.append(text[done:start])
        done, number = end + len(closing), number + 1
        start = text.find(opening, done)
    return "".join([*parts, text[done:]]), number


def _bbcode(text: str) -> Count:
    """Tags whose closing twin is in the text: ``[i]`` alone is an index."""
    if "[/" not in text:
        return text, 0
    text, images = replace(BB_IMAGE, "", text)
    names = sorted({found[1].lower() for found in BB_CLOSE.finditer(text)})
    if not names:
        return text, images
    tag = re.compile(rf"\[/?(?:{'|'.join(names)})(?:=[^\]\n]{{0,300}})?\]", re.IGNORECASE)
    text, tags = replace(tag, "", text)
    return text, images + tags
