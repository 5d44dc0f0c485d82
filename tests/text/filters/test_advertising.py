"""Selling, spam and page furniture are found, in Chinese and English, and clean text is left alone."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.base.errors import UserError
from danlu.base.recipe import from_dict, to_dict
from danlu.text.document import Document
from danlu.text.filters import advertising_terms
from danlu.text.filters.advertising import Advertising
from danlu.text.filters.advertising_terms import phrases
from tests.text.filters.judged import clean, reason
from tests.text.filters.texts import LINES, MANDARIN, PROSE, TEXTS

SOLD = {
    "casino": (
        "Play at our online casino tonight! New members get a casino bonus and fifty free spins on every slot machine. "
        "Claim the no deposit bonus before midnight.",
        "spam_terms",
    ),
    "pills": (
        "Cheap viagra and cialis from a trusted online pharmacy, no prescription needed. Ships in plain paper everywhere.",
        "spam_terms",
    ),
    "博彩": ("澳门最大的真人娱乐平台，百家乐、老虎机、时时彩应有尽有，注册就送彩金，六合彩开奖结果每天更新。", "spam_terms"),
    "发票": ("本公司长期代开发票，税点低，各行业都可以，另有办证刻章业务，文凭办理，信用卡套现，诚信第一。", "spam_terms"),
    "微信": (
        "想了解更多就加微信，微信号见下图，也可以加我微信好友进qq群交流，客服热线全天有人接听，扫码还能领资料。",
        "contact_lines",
    ),
    "hotline": (
        "Need a plumber? Call us today, our toll free hotline is open all night. Email us or visit our website, and "
        "follow us on every network.",
        "contact_lines",
    ),
    "热销": ("火爆热销中，限时优惠，全国包邮，点击购买立享折扣，先到先得，名额有限，机会难得，不容错过！", "calls_to_action"),
    "sale": (
        "Order now and get free shipping! Limited time offer, satisfaction guaranteed or your money back. Click here to "
        "add to cart, or sign up today for a free trial with no obligation.",
        "calls_to_action",
    ),
    "mailing": (
        "You are receiving this because you joined our mailing list. To unsubscribe, click here, and you will be removed "
        "from our records. Please click below if you wish to receive more.",
        "calls_to_action",
    ),
    "cookies": (
        "We use cookies to improve your browsing experience. By continuing to browse you agree to our cookie policy. "
        "Accept all cookies, reject all, or open the cookie settings to manage cookies.",
        "cookie_banner",
    ),
    "本网站": ("本网站使用Cookie。您可以接受所有Cookie，也可以打开Cookie设置，详见Cookie政策，或管理Cookie。", "cookie_banner"),
    "letter": (
        "Dear [Client Name],\nthank you for choosing [Your Company]. Your order {{order_id}} left us on [Date].\n"
        "Yours, [Your Name], {{position}}",
        "placeholders",
    ),
    "合同": ("甲方：xx公司\n乙方：【请填写名称】\n地址：________\n双方就××项目达成协议，金额为________元，（请填写大写）。", "placeholders"),
    "keywords": (
        "cheap shoes, buy shoes online, running shoes, red shoes, shoes for women, shoes for men, leather shoes, shoes "
        "outlet, kids shoes, discount shoes, best shoes, winter shoes, wedding shoes",
        "keyword_list",
    ),
    "关键词": (
        "深圳装修公司，深圳装修报价，深圳室内装修，深圳办公室装修，深圳旧房装修，深圳厨房装修，深圳装修设计，深圳店铺装修，深圳别墅装修，"
        "深圳装修队，深圳装修网",
        "keyword_list",
    ),
    "menu": ("Home\nAbout us\nProducts\nContact\nLogin\nNews | Careers | Help | Site map\nThe harbour.\n© 2021 Example", "navigation"),
    "导航": ("首页 > 新闻中心 > 公司简介\n关于我们\n联系我们\n港口今天很忙。\n上一篇\n下一篇\n友情链接\n版权所有 沪ICP备00000000号", "navigation"),
}  # fmt: skip


@pytest.mark.parametrize("kind", SOLD)
def test_it_is_found(kind: str) -> None:
    text, why = SOLD[kind]
    assert reason(Advertising(), text) == why


@pytest.mark.parametrize(
    "text",
    [
        PROSE,
        MANDARIN,
        LINES,
        *(TEXTS[name] for name in ("source code", "table", "bullets", "addresses", "citations", "policies")),
        "The casino closed in 1931. " * 3 + PROSE,  # one term again and again is what the text is about
        "Click here to see the map, or click here for the list. " + PROSE,
        "我们去超市买了苹果、梨、香蕉、橙子、葡萄、西瓜、桃子、草莓、樱桃、芒果、柠檬和椰子，然后回家了。",
        "Add flour, sugar, eggs, butter, salt, milk, yeast, honey, nuts, raisins, cream and lemon, then stir.",
        "",
    ],
)
def test_what_is_not_selling_is_kept(text: str) -> None:
    assert reason(Advertising(), text) == ""


def test_it_is_the_density_that_counts() -> None:
    """The same advertisement inside two pages of prose is let pass."""
    text, why = SOLD["sale"]
    assert reason(Advertising(), f"{text}\n\n{PROSE}") == why
    assert reason(Advertising(), f"{text}\n\n{PROSE}\n\n{PROSE.upper()}") == ""


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"max_phrases": 0}, "casino"),
        ({"max_phrases": 90}, "微信"),
        ({"max_cookie_notices": 0}, "cookies"),
        ({"max_placeholders": 0}, "letter"),
        ({"few": 9}, "hotline"),
        ({"max_keyword_lists": 0}, "keywords"),
        ({"max_keyword_lists": 1}, "关键词"),
        ({"max_navigation": 0}, "menu"),
        ({"max_navigation": 0.95}, "导航"),
        ({"language": "en"}, "发票"),
    ],
)
def test_every_key_changes_a_decision(change: dict[str, object], kind: str) -> None:
    text, why = SOLD[kind]
    assert reason(replace(Advertising(), **change), text) != why  # type: ignore[arg-type]


def test_the_threshold_is_passed_strictly() -> None:
    text = "order now, buy now, act now." + " x" * 486  # three calls in 1,000 letters
    assert len(text) == 1000
    assert reason(Advertising(max_phrases=3), text) == ""
    assert reason(Advertising(max_phrases=3), text[:-2]) == "calls_to_action"


def test_phrases_are_in_small_letters_and_none_is_there_twice() -> None:
    for table in ("CONTACTS", "CALLS", "SPAM", "COOKIES", "MENU"):
        found = phrases(getattr(advertising_terms, table))
        assert len(found) == len(set(found)) > 10
        assert [phrase for phrase in found if not phrase or phrase != phrase.lower().strip()] == []


def test_clean_text_is_left_alone() -> None:
    """Not one; ``make bench NAME=filters`` shows it some thousand more."""
    step = Advertising()
    assert [document.id for document in clean() if step(document) is not document] == []


@pytest.mark.parametrize(
    "change", [{"max_phrases": -1}, {"few": 0}, {"max_keyword_lists": 2}, {"max_navigation": -0.1}]
)
def test_senseless_settings_are_named(change: dict[str, float]) -> None:
    with pytest.raises(UserError, match="recipe: "):
        Advertising(**change)  # type: ignore[arg-type]


def test_it_travels_as_plain_values() -> None:
    assert from_dict(Advertising, to_dict(Advertising()))(Document(LINES, "a:1", "a")).text == LINES


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(),
        st.lists(
            st.sampled_from(["click here", "，", ",", "|", " ", "\n", "首页", "[your", "{{x}}", "\ud800", "İ"])
        ).map("".join),
    )
)
def test_never_raises(text: str) -> None:
    Advertising()(Document(text, "a:1", "a"))
