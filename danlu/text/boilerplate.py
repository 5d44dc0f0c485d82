"""Lines that a page's frame leaves in its text: cookie notices, sharing, navigation, copyright, page numbers.

A line goes only when all of it is of such a kind and it is short, so a sentence about cookies stays. The patterns are
ours, from what pages in both languages say; a person's own stand in a file, one regular expression a line.
"""

import re
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

from danlu.base.errors import UserError
from danlu.base.files import existing
from danlu.text.prose import Count

Frame = Literal["cookies", "share", "navigation", "copyright", "pages"]
FRAMES: tuple[Frame, ...] = get_args(Frame)
LONGEST = 240  # characters; a cookie notice needs them, the rest is shorter

SITES = (
    "facebook|twitter|linkedin|reddit|whatsapp|pinterest|telegram|messenger|tumblr|instagram|youtube|weibo|wechat|e-?mail"
    "|print|sms|copy link|微信|(?:新浪|腾讯)?微博|qq(?:空间|好友)?"
    "|朋友圈|豆瓣|人人网|贴吧|抖音|小红书"
)
AND = r"[\s|·•,，/、:：-]"  # stands between the names of sites
THIS = f"this|me|it|on|to|via|with|by|in|a|the|article|post|page|story|link|friends?|and|{SITES}"
MORE = r"(?: ?(?:»|›|>|→|\.\.\.|…))?"
PAGE = "page|posts?|article|chapter|story|entry"
REACTION = "点赞|收藏|评论|转发|举报|分享|赞"
LEGAL = (
    r"terms(?: of (?:use|service)| (?:and|&) conditions)?|privacy(?: policy)?|site ?map|contact(?: us)?|about(?: us)?"
    "|disclaimer|imprint|免责声明|隐私(?:政策|声明)|服务条款|联系我们|关于我们|网站地图"
)
PATTERNS: dict[Frame, tuple[str, ...]] = {
    "cookies": (
        r"(?:we|this (?:web)?site|our (?:web)?site|by (?:using|continuing|clicking)|to (?:give|offer|improve))\b"
        r".{0,120}\bcookies?\b.{0,120}",
        "(?:accept|reject|allow|manage|decline)(?: all| only| necessary| essential)* cookies?(?: settings)?",
        "(?:accept|reject) all",
        "cookies? (?:policy|settings|preferences|notice|consent|declaration)",
        "(?:本网站|本站|我们|该网站).{0,10}使用 ?cookies?.{0,120}",
        "(?:接受|拒绝|管理)(?:所有|全部)? ?cookies?(?:设置)?",
        "cookies? ?(?:政策|设置|声明|偏好)",
    ),
    "share": (
        rf"(?:share|tweet)(?: (?:{THIS}))*{AND}*[!.…]?",
        rf"(?:pin it|(?:follow|like|find|join) us)(?: (?:{THIS}))*{AND}*[!.…]?",
        rf"(?:share|tweet|like|{SITES})(?:{AND}+(?:share|tweet|like|{SITES}))+{AND}*",
        rf"(?:一键)?分享(?:到|至|给)?{AND}*(?:(?:{SITES}|更多){AND}*)*",
        "(?:微信)?(?:扫一扫|扫码|扫描).{0,12}(?:关注|二维码|分享).{0,20}",
        "(?:欢迎|请|长按)?(?:关注|收藏)(?:我们|本站|公众号|微信).{0,24}",
        rf"(?:{REACTION})(?:[\s|·/、\d()（）]+(?:{REACTION}))+[\s\d()（）]*",
    ),
    "navigation": (
        "[上下]一[篇页章节条张集](?:[:： ].{0,60})?",
        "(?:返回|回到)(?:顶部|首页|列表|目录|上页|上一页)",
        "(?:阅读|查看|展开|点击)(?:全文|更多|原文|详情|查看更多|展开全文|加载更多)|(?:加载|显示)更多",
        r"(?:首页|末页|尾页)(?:[\s|]+(?:上一页|下一页|\d+|末页|尾页))*",
        "(?:您|你)?(?:现在|当前)?的?(?:所在)?位置[:：].{0,80}",
        r"(?:登录|注册)(?:[\s|/]+(?:登录|注册|忘记密码))*",
        r"(?:首页|主页)(?: ?[>»›/|] ?[^>»›/|\n]{1,20}){1,6}",
        "(?:相关|热门|推荐)(?:阅读|推荐|文章|新闻|链接)|猜你喜欢|友情链接|网站导航",
        rf"(?:[«‹<←]\s?)?(?:previous|next|older|newer) (?:{PAGE})(?:\s?[»›>→])?"
        rf"(?:[\s|]+(?:next|newer)(?: (?:{PAGE}))?(?:\s?[»›>→])?)?",
        r"(?:[«‹←]\s?(?:prev(?:ious)?|older)|(?:next|newer)\s?[»›→])(?:[\s|]+(?:next|newer)\s?[»›→]?)?",
        r"prev(?:ious)?[\s|]+next",
        "skip to (?:main )?(?:content|navigation|footer)",
        "(?:back|return|go) to (?:the )?(?:top|home|homepage|main page)",
        f"(?:read|load|show|see|view|learn) (?:more|all|less){MORE}",
        "toggle (?:navigation|menu|search)",
        r"(?:log ?in|sign ?in|log ?out|sign ?up)(?:[\s|/]+(?:or )?(?:log ?in|sign ?in|register|sign ?up|subscribe))*",
        r"home(?: ?[>»›|] ?[^>»›|\n]{1,30}){1,6}",
        r"(?:leave|post|write|add) a (?:comment|reply)|(?:no|\d+) comments?",
        "(?:related|popular|recent|trending) (?:posts|articles|stories|topics|news)",
        r"click here(?: to [\w ]{1,40})?",
    ),
    "copyright": (
        r"(?:copyright )?(?:copyright|©|\(c\)) ?(?:©|\(c\))? ?(?:[12][0-9]{3}|by ).{0,120}|© ?.{1,80}",
        "版[权權]所有.{0,120}",
        "(?:本文)?(?:未经|转载请|如需转载|禁止转载|欢迎转载).{0,60}",
        r"(?:proudly )?powered by [\w .&-]{1,40}|技术支持[:：].{1,30}",
        rf"(?:{LEGAL})(?:[\s|·•,，/]+(?:{LEGAL}|help|careers|advertise))+|(?:terms of (?:use|service)|privacy policy)",
    ),
    "pages": (
        r"page:? \d{1,4}(?: ?(?:of|/) ?\d{1,4})?",
        r"[-–—] ?\d{1,4} ?[-–—]",
        r"第 ?\d{1,4} ?[页頁](?:[,，/ ]*[共总] ?\d{1,4} ?[页頁])?|共 ?\d{1,4} ?[页頁](?:[,，/ ]*第 ?\d{1,4} ?[页頁])?",
    ),
}


# These begin with anything, so they are tried only where their word is in the text.
ANYWHERE = {
    "reserved": ".{0,100}all rights reserved.{0,20}",
    "icp": ".?icp(?:备|证|备案).{0,40}",
    "版权所有": ".{0,100}版权所有.{0,20}",
    "保留所有权利": ".{0,100}保留所有权利.{0,20}",
    "公网安备": ".{0,2}公网安备.{0,30}",
}
# What the others begin with: two characters of a line tell nearly all lines of a text from them.
STARTS = {
    *("we", "th", "ou", "by", "to", "ac", "re", "al", "ma", "de", "co", "sh", "tw", "pi", "fo", "li", "fi", "jo", "fa"),
    *("wh", "te", "me", "tu", "in", "yo", "e-", "em", "pr", "sm", "qq", "ne", "ol", "sk", "ba", "go", "lo", "se", "vi"),
    *("le", "si", "ho", "po", "wr", "ad", "no", "tr", "cl", "to", "ab", "di", "im", "pa"),
}
FIRST = {
    *"本我该接拒管一分微新腾朋豆人贴抖小扫欢请长关收点评转举赞上下返回阅查展加显首末尾您你现当的所位登注主相热推猜友网版未如禁",
    *"技免隐服联第共«‹<←©(-–—0123456789",
}


def drop_lines(text: str, frames: tuple[Frame, ...], file: Path | None) -> Count:
    """``text`` without the lines that one of ``frames`` or a pattern of ``file`` matches from end to end."""
    framed = _frames(frames)
    lowered = text.lower() if "copyright" in frames else ""
    patterns = [_anywhere(pattern) for word, pattern in ANYWHERE.items() if word in lowered]
    patterns += [own_pattern] if file and (own_pattern := own(file)) else []
    if not framed and not patterns:
        return text, 0
    kept, dropped = [], 0
    for line in text.split("\n"):
        bare = line.strip() if len(line) <= 2 * LONGEST else ""
        likely = bare[:2].lower() in STARTS or bare[:1] in FIRST
        if (
            (likely or patterns)
            and 0 < len(bare) <= LONGEST
            and ((likely and framed and framed.fullmatch(bare)) or any(own.fullmatch(bare) for own in patterns))
        ):
            dropped += 1
        else:
            kept.append(line)
    return ("\n".join(kept), dropped) if dropped else (text, 0)


@lru_cache(maxsize=32)
def _anywhere(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


@lru_cache(maxsize=32)
def _frames(frames: tuple[Frame, ...]) -> re.Pattern[str] | None:
    patterns = [pattern for frame in frames for pattern in PATTERNS[frame]]
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE) if patterns else None


@lru_cache(maxsize=32)
def own(file: Path) -> re.Pattern[str] | None:
    """A person's own patterns, one a line; empty lines and those that begin with # say nothing."""
    existing(file, remedy="Give a file with one regular expression a line")
    patterns = []
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError("not UTF-8", where=file, remedy="Save it as UTF-8") from None
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            re.compile(line.strip())
        except re.error as error:
            raise UserError(f"not a regular expression ({error})", where=f"{file}:{number}") from None
        patterns.append(f"(?:{line.strip()})")
    return re.compile("|".join(patterns), re.IGNORECASE) if patterns else None
