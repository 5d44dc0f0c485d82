"""Pages made for extract: real prose in twelve sorts of page, each with the furniture that such pages have.

The prose is the anarchism package's (English) and the Debian reference's (Chinese); what stands around it is
written here, except teasers and comments, which are sentences of the same prose. What a page's article holds is known
to the word. Fixed seeds: the pages are the same on every machine.
"""
# ruff: noqa: E501  (a line of a page is a line here)

import gzip
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

WORDS = {
    "en": {
        "site": "The Morning Post", "nav": ["Home", "News", "World", "Business", "Science", "Culture", "Sport", "Opinion", "Video", "Archive"],
        "share": "Share Tweet Email Print Save", "comments": "Comments", "reply": "Reply", "related": "Related articles",
        "popular": "Most read", "cookie": "We and our partners use cookies to store and access information on your device, "
        "to show you advertising that fits your interests and to measure how our pages are used. You can change your "
        "choice at any time in the settings.", "accept": "Accept all", "newsletter": "Sign up for our newsletter and get "
        "the best stories of the day in your inbox every morning, free of charge.", "legal": "All rights reserved. No part "
        "of these pages may be reproduced without written permission of the publisher. Prices include value added tax.",
        "by": "By Jane Miller", "date": "12 March 2019, 10:41", "toc": "Contents", "edit": "edit", "see": "See also",
        "next": "Next page", "prev": "Previous page", "search": "Search", "login": "Log in", "more": "Read more »",
        "answer": "Answer", "votes": "17 votes", "tags": "Tags", "ad": "Advertisement", "about": "About this site",
    },
    "zh": {
        "site": "晨报网", "nav": ["首页", "新闻", "国际", "财经", "科技", "文化", "体育", "评论", "视频", "论坛"], "share": "分享 微博 微信 打印 收藏",
        "comments": "网友评论", "reply": "回复", "related": "相关阅读", "popular": "热门排行", "cookie": "我们和合作伙伴使用"
        "浏览记录来保存和读取您设备上的信息，以便向您展示您感兴趣的广告，并统计页面的使用情况。您可以随时在设置中更改您的选择。",
        "accept": "全部接受", "newsletter": "订阅我们的邮件，每天早上免费收到当天最精彩的文章和深度报道，随时可以退订。",
        "legal": "版权所有，未经书面授权不得转载、摘编或以其他方式使用本网站的任何内容，违者必究。京公网安备备案号。",
        "by": "记者 李明", "date": "2019年03月12日 10:41", "toc": "目录", "edit": "编辑", "see": "参见", "next": "下一页",
        "prev": "上一页", "search": "搜索", "login": "登录", "more": "阅读全文>>", "answer": "回答", "votes": "17 人赞同",
        "tags": "标签", "ad": "广告", "about": "关于我们",
    },
}  # fmt: skip


@dataclass
class Maker:
    """What a template takes its words from. ``truth`` collects what belongs to the article."""

    language: str
    prose: list[str]
    draw: random.Random
    truth: list[str] = field(default_factory=list)

    def word(self, name: str) -> str:
        return str(WORDS[self.language][name])

    def text(self) -> str:
        """A paragraph."""
        return self.draw.choice(self.prose)

    def sentence(self) -> str:
        """The first sentence of some paragraph."""
        return re.split(r"(?<=[.。！？!?])", self.text())[0][:140].strip()

    def title(self) -> str:
        """A few words, as a headline has."""
        sentence = self.sentence()
        return (" ".join(sentence.split()[:8]) if self.language == "en" else sentence[:18]).rstrip(".,;:，。；：")

    def tell(self, text: str) -> str:
        """A text of the article, escaped."""
        self.truth.append(text)
        return escape(text)

    def paragraphs(self, count: int, tag: str = "p", names: str = "") -> str:
        return "\n".join(f"<{tag}{names}>{self.linked(self.tell(self.text()))}</{tag}>" for _ in range(count))

    def linked(self, text: str) -> str:
        """A text in which now and then some words are a link or emphasised."""
        words = text.split(" ")
        if len(words) > 9 and self.draw.random() < 0.5:
            place = self.draw.randrange(len(words) - 3)
            words[place] = f'<a href="/topic/{place}">{words[place]}'
            words[place + 1] += "</a>"
        return " ".join(words)

    def links(self, names: list[str], item: str = "li", href: str = "/section") -> str:
        return "\n".join(f'<{item}><a href="{href}/{n}">{escape(name)}</a></{item}>' for n, name in enumerate(names))

    def nav(self) -> str:
        return f"<ul>{self.links(list(WORDS[self.language]['nav']))}</ul>"

    def titles(self, count: int) -> list[str]:
        return [self.title() for _ in range(count)]

    def teasers(self, count: int, box: str = "div", head: str = "h4") -> str:
        """Headlines of other articles, each with its first sentence."""
        return "\n".join(
            f'<{box}><{head}><a href="/story/{n}">{escape(self.title())}</a></{head}><p>{escape(self.sentence())} '
            f'<a href="/story/{n}">{self.word("more")}</a></p></{box}>'
            for n in range(count)
        )

    def comments(self, count: int) -> str:
        return "\n".join(
            f"<li><b>user{n}</b> <small>{self.word('date')}</small><p>{escape(self.sentence())} {escape(self.sentence())}"
            f'</p><a href="#r{n}">{self.word("reply")}</a></li>'
            for n in range(count)
        )

    def page(self, body: str, title: str, head: str = "") -> tuple[str, str]:
        html = (
            f'<!DOCTYPE html><html lang="{self.language}"><head><meta charset="utf-8"><title>{escape(title)} - '
            f'{self.word("site")}</title>{head}<style>.a{{color:red}}</style><script>var a = "<p>no</p>";</script></head>'
            f"<body>{body}</body></html>"
        )
        return html, "\n".join(self.truth)


def blog(m: Maker) -> tuple[str, str]:
    """HTML5 as a blog engine writes it, with widgets and comments."""
    title = m.title()
    article = (
        f'<article class="post hentry"><header class="entry-header"><h1 class="entry-title">{m.tell(title)}</h1>'
        f'<div class="entry-meta">{m.word("by")} · <time datetime="2019-03-12">{m.word("date")}</time></div></header>'
        f'<div class="entry-content">{m.paragraphs(4)}<h2>{m.tell(m.title())}</h2>{m.paragraphs(2)}'
        f"<blockquote><p>{m.tell(m.sentence())}</p></blockquote>{m.paragraphs(1)}</div>"
        f'<footer class="entry-footer">{m.word("tags")}: <a href="/t/1">{m.title()}</a></footer></article>'
    )
    widgets = "".join(f'<section class="widget"><h2>{m.word(k)}</h2><ul>{m.links(m.titles(8))}</ul></section>'
                      for k in ("popular", "related"))  # fmt: skip
    about = f'<section class="widget"><h2>{m.word("about")}</h2><p>{escape(m.sentence())}</p></section>'
    return m.page(
        f'<header class="site-header"><p>{m.word("site")}</p><nav>{m.nav()}</nav></header><div class="wrap"><main>'
        f'{article}<section id="comments" class="comments-area"><h2>{m.word("comments")}</h2><ol>{m.comments(6)}</ol>'
        f'</section></main><aside class="sidebar">{about}{widgets}</aside></div><footer><p>{m.word("legal")}</p></footer>',
        title,
    )


def portal(m: Maker) -> tuple[str, str]:
    """A portal: numbered divs, paragraphs made with <br>, hundreds of links."""
    title = m.title()
    farm = "".join(f'<div class="w300"><div class="t1">{m.title()}</div><ul class="l{n}">{m.links(m.titles(9))}</ul></div>'
                   for n in range(4))  # fmt: skip
    text = "<br><br>\n".join(("　　" if m.language == "zh" else "") + m.tell(m.text()) for _ in range(6))
    return m.page(
        f'<div id="d1"><div class="c1">{m.nav()}</div></div><div id="d2"><div class="w650"><div class="c2"><a href="/">'
        f'{m.word("site")}</a> &gt; <a href="/n">{m.title()}</a></div><h1>{m.tell(title)}</h1><div class="c3">'
        f'{m.word("date")}　{m.word("by")}</div><div class="c4">{text}</div><div class="c5">{m.word("share")}</div>'
        f'<div class="c6"><div class="c7">{m.word("related")}</div><ul>{m.links(m.titles(6))}</ul></div></div>'
        f'<div class="w300r">{farm}</div></div><div id="d9">{m.nav()}<p>{m.word("legal")}</p></div>',
        title,
    )


def tables(m: Maker) -> tuple[str, str]:
    """The layout of the nineties: everything in cells, tags in capitals and rarely closed."""
    title = m.title()
    body = "".join(f"<P>{m.tell(m.text())}\n" for _ in range(5))
    items = "".join(f"<LI>{m.tell(m.sentence())}\n" for _ in range(3))
    side = "<BR>\n".join(f'<A HREF="s{n}.html">{escape(t)}</A>' for n, t in enumerate(m.titles(14)))
    return m.page(
        f'<TABLE WIDTH="100%"><TR><TD COLSPAN=3 BGCOLOR=#000080><FONT COLOR=white>{m.word("site")}</FONT></TD></TR><TR>'
        f"<TD VALIGN=top WIDTH=150>{side}</TD><TD VALIGN=top><H1>{m.tell(title)}</H1><FONT SIZE=2>{body}<UL>{items}</UL>"
        f'</FONT></TD><TD VALIGN=top><CENTER><B>{m.word("ad")}</B><BR><A HREF="x">{m.title()}</A></CENTER></TD></TR><TR>'
        f"<TD COLSPAN=3><CENTER>{' | '.join(f'<A HREF=x>{t}</A>' for t in WORDS[m.language]['nav'])}<BR>{m.word('legal')}"
        f"</CENTER></TD></TR></TABLE>",
        title,
    )


def hashed(m: Maker) -> tuple[str, str]:
    """An application: names made by a build tool, no paragraphs but divs."""
    title = m.title()
    cards = "".join(f'<div class="css-9k2"><a href="/c{n}"><div class="css-77">{escape(m.title())}</div><div class="css-78">'
                    f"{escape(m.sentence())}</div></a></div>" for n in range(6))  # fmt: skip
    return m.page(
        f'<div id="root"><div class="css-1q"><div class="css-2w">{"".join(f"<a href=/x>{t}</a>" for t in WORDS[m.language]["nav"])}'
        f'</div></div><div class="css-3e"><div class="css-4r"><h1 class="css-h">{m.tell(title)}</h1><div class="css-5t">'
        f'{m.word("by")}</div>{m.paragraphs(6, "div", " class=css-p0")}</div><div class="css-6y">{cards}</div></div>'
        f'<div class="css-f">{m.word("legal")}</div></div>',
        title,
    )


def wiki(m: Maker) -> tuple[str, str]:
    """Sections with links to edit them, a table of contents, a table of data, references to other pages."""
    title, heads = m.title(), m.titles(3)
    mark = f'<span class="mw-editsection">[<a href="/e">{m.word("edit")}</a>]</span>'
    rows = "".join(f"<tr><td>{m.tell(m.title())}</td><td>{m.tell(m.title())}</td><td>{m.tell(str(n * 37))}</td></tr>"
                   for n in range(4))  # fmt: skip
    sections = "".join(f"<h2>{m.tell(h)}{mark}</h2>{m.paragraphs(2)}" for h in heads)
    toc = "".join(f'<li><a href="#s{n}">{escape(h)}</a></li>' for n, h in enumerate(heads))
    return m.page(
        f'<div id="mw-navigation"><div class="vector-menu">{m.nav()}</div></div><div id="content" role="main"><h1>'
        f'{m.tell(title)}</h1><div id="mw-content-text"><div class="mw-parser-output">{m.paragraphs(2)}<div id="toc" '
        f'class="toc"><h2>{m.word("toc")}</h2><ul>{toc}</ul></div>{sections}<table class="wikitable">{rows}</table>'
        f'{m.paragraphs(1)}<div class="navbox"><ul>{m.links(m.titles(12))}</ul></div></div></div></div><div id="footer">'
        f"<ul><li>{m.word('legal')}</li></ul></div>",
        title,
    )


def manual(m: Maker) -> tuple[str, str]:
    """Documentation: a tree of pages, code, notes, previous and next."""
    title = m.title()
    code = "def area(width, height):\n    return width * height\n\nprint(area(3, 4))"
    tree = "".join(
        f"<li><a href=p{n}>{escape(t)}</a><ul>{m.links(m.titles(3))}</ul></li>" for n, t in enumerate(m.titles(6))
    )
    terms = "".join(
        f"<dt><code>{m.tell(f'--option-{n}')}</code></dt><dd><p>{m.tell(m.sentence())}</p></dd>" for n in range(3)
    )
    return m.page(
        f'<nav class="docs-sidebar"><ul>{tree}</ul></nav><div class="document"><div class="body"><section id="search-index">'
        f'<h1>{m.tell(title)}<a class="headerlink" href="#x">¶</a></h1>{m.paragraphs(2)}<div class="highlight"><pre>'
        f'{m.tell(code)}</pre></div><div class="admonition note"><p>{m.tell(m.sentence())}</p></div><section id="login"><h2>'
        f'{m.tell(m.title())}</h2>{m.paragraphs(2)}<dl>{terms}</dl></section></section></div><div class="prev-next">'
        f'<a href="a">{m.word("prev")}</a> <a href="b">{m.word("next")}</a></div></div><div class="footer">{m.word("legal")}</div>',
        title,
    )


def questions(m: Maker) -> tuple[str, str]:
    """A question and its answers: all of them are what a reader came for."""
    title = m.title()
    posts = "".join(
        f'<div class="post"><div class="vote">{m.word("votes")}</div><div class="post-text">{m.paragraphs(2)}</div>'
        f'<div class="user-info"><a href="/u{n}">user{n}</a></div></div>'
        for n in range(4)
    )
    return m.page(
        f'<div class="topbar"><a href="/">{m.word("site")}</a><form><input name=q></form><a href="/l">{m.word("login")}</a></div>'
        f'<div id="mainbar"><h1>{m.tell(title)}</h1>{posts}</div><div id="sidebar"><h4>{m.word("related")}</h4>'
        f"{''.join(f'<div><a href=/q{n}>{escape(t)}</a></div>' for n, t in enumerate(m.titles(12)))}</div>"
        f'<div id="footer">{m.nav()}{m.word("legal")}</div>',
        title,
    )


def magazine(m: Maker) -> tuple[str, str]:
    """Boxes between the paragraphs, a banner about cookies before them, a long colophon after them."""
    title = m.title()
    box = lambda: f'<div class="inline-related"><h3>{m.word("related")}</h3>{m.teasers(2)}</div>'  # noqa: E731
    body = (
        f'{m.paragraphs(2)}<figure><img src="a.jpg"><figcaption>{escape(m.sentence())}</figcaption></figure>{m.paragraphs(2)}'
        f'{box()}{m.paragraphs(2)}<div class="newsletter-signup"><p>{m.word("newsletter")}</p><input><button>OK</button></div>'
        f"{m.paragraphs(2)}"
    )
    return m.page(
        f'<div class="cookie-consent"><p>{m.word("cookie")}</p><button>{m.word("accept")}</button></div><div class="masthead">'
        f'{m.nav()}</div><div class="story"><h1>{m.tell(title)}</h1><p class="byline">{m.word("by")}, {m.word("date")}</p>'
        f'<div class="social-share">{m.word("share")}</div>{body}<div class="author-bio"><p>{m.word("by")}. '
        f'{escape(m.sentence())}</p></div></div><div class="more-stories">{m.teasers(6)}</div><footer><p>{m.word("legal")}</p>'
        f"<p>{m.word('newsletter')}</p></footer>",
        title,
    )


def brief(m: Maker) -> tuple[str, str]:
    """Two paragraphs of news, and far more of everything else."""
    title = m.title()
    return m.page(
        f'<div class="header">{m.nav()}</div><div class="content"><div class="left"><h1>{m.tell(title)}</h1><p class="date">'
        f'{m.word("date")}</p><div class="article-text"><p>{m.tell(m.sentence())}</p><p>{m.tell(m.text())}</p></div>'
        f'<div class="comment-list"><h3>{m.word("comments")}</h3><ul>{m.comments(15)}</ul></div></div><div class="right">'
        f'<h3>{m.word("popular")}</h3>{m.teasers(8)}</div></div><div class="bottom"><p>{m.word("legal")}</p></div>',
        title,
    )


def steps(m: Maker) -> tuple[str, str]:
    """A recipe: short items that are all contents, and reviews that are not."""
    title = m.title()
    items = "".join(f"<li>{m.tell(m.title())}</li>" for _ in range(8))
    doing = "".join(f"<li>{m.tell(m.sentence())}</li>" for _ in range(6))
    return m.page(
        f'<nav>{m.nav()}</nav><main><div class="recipe"><h1>{m.tell(title)}</h1><p>{m.tell(m.sentence())}</p><h2>'
        f"{m.tell(m.title())}</h2><ul>{items}</ul><h2>{m.tell(m.title())}</h2><ol>{doing}</ol></div>"
        f'<section class="reviews comments"><h2>{m.word("comments")}</h2><ul>{m.comments(8)}</ul></section></main>'
        f"<aside>{m.teasers(4)}</aside><footer>{m.word('legal')}</footer>",
        title,
    )


def product(m: Maker) -> tuple[str, str]:
    """A description and a table of properties; other products around it."""
    title = m.title()
    rows = "".join(f"<tr><th>{m.tell(m.title())}</th><td>{m.tell(m.title())}</td></tr>" for _ in range(9))
    others = "".join(f'<li><a href="/p{n}"><img src="p.jpg"><span>{escape(t)}</span></a><span>{n * 13}.00</span></li>'
                     for n, t in enumerate(m.titles(10)))  # fmt: skip
    return m.page(
        f'<div class="top-nav">{m.nav()}</div><div class="breadcrumb"><a href="/">{m.word("site")}</a> / <a href="/c">'
        f'{m.title()}</a></div><div class="product-main"><h1>{m.tell(title)}</h1><div class="description">{m.paragraphs(3)}'
        f'</div><table class="spec">{rows}</table></div><div class="recommendations"><h3>{m.word("related")}</h3><ul>{others}'
        f'</ul></div><div class="footer"><p>{m.word("legal")}</p></div>',
        title,
    )


def broken(m: Maker) -> tuple[str, str]:
    """Tags that are never closed, closed twice or nested wrongly; comments and quotes left open."""
    title = m.title()
    text = "".join(f"<p><b>{m.tell(m.sentence())}<p></b><i>{m.tell(m.text())}</p></span></div>" for _ in range(4))
    return m.page(
        f"<div class=nav><ul>{m.links(list(WORDS[m.language]['nav']))}</div><div class=main><h1>{m.tell(title)}</h2>"
        f'<!-- <p>no --><div class="text">{text}<p>{m.tell(m.text())} a < b &amp; c &copy </div></td></tr>'
        f'<div id=foot class="footer><p">{m.word("legal")}</div>',
        title,
    )


TEMPLATES: tuple[Callable[[Maker], tuple[str, str]], ...] = (
    blog, portal, tables, hashed, wiki, manual, questions, magazine, brief, steps, product, broken,
)  # fmt: skip


def made(cache: Path, each: int = 5) -> Iterator[tuple[str, str, str]]:
    """Name, HTML and text of ``each`` pages a template and language."""
    supply = {"en": _english(cache), "zh": _chinese(cache)}
    for language, prose in supply.items():
        for template in TEMPLATES:
            for seed in range(each):
                draw = random.Random(f"{language} {template.__name__} {seed}")
                yield f"{template.__name__}-{language}-{seed}", *template(Maker(language, prose, draw))


def _english(cache: Path) -> list[str]:
    found: list[str] = []
    for path in sorted((cache / "anarchism/usr/share/doc/anarchism/markdown").glob("secA*.md.gz")):
        text = re.sub(r"\]\([^)\s]*\)|[\[*\\#_]|<[^>]*>", "", gzip.decompress(path.read_bytes()).decode("utf-8"))
        found += [" ".join(part.split()) for part in text.split("\n\n")]
    return [part for part in found if 250 < len(part) < 1200]


def _chinese(cache: Path) -> list[str]:
    path = cache / "debian-reference-zh-cn/usr/share/debian-reference/debian-reference.zh-cn.txt.gz"
    text = gzip.decompress(path.read_bytes()).decode("utf-8")
    found = ["".join(line.strip() for line in part.splitlines()) for part in text.split("\n\n")]
    return [part for part in found if 60 < len(part) < 400 and "|" not in part and part.endswith("。")]
