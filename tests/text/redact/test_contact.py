"""E-mail addresses: found next to Chinese, and not where an @ means something else."""

import pytest

from tests.text.redact.cases import private


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("邮箱zhangsan@qq.com联系", "zhangsan@qq.com"),  # no border that \b would see
        ("mail first.last+tag@mail.example-host.co.uk, please", "first.last+tag@mail.example-host.co.uk"),
        ("<a_b%c@x-y.org>.", "a_b%c@x-y.org"),
        ("end of it: me@host.com.", "me@host.com"),
        ("me@host.com.Next sentence", "me@host.com"),  # a space was forgotten
        ("mailto:me@host.io?subject=x", "me@host.io"),
        ("ｍｅ＠ｈｏｓｔ．ｃｏｍ", "ｍｅ＠ｈｏｓｔ．ｃｏｍ"),
    ],
)
def test_found(text: str, found: str) -> None:
    assert private(text, "email") == [found]


@pytest.mark.parametrize(
    "text",
    [
        "@property",
        "user@decorator",
        "thanks @mention and @someone.else",
        "icon@2x.png",
        "npm i package@1.2.3",
        "y = a@b.T + W@x.sum(0)",
        "git clone git@github.com:owner/repo.git",
        "ssh://deploy@build.host.com/srv",
        "follow @someone@mastodon.social",
        "someone@example.com, a@b.test, root@localhost",
        "@",
        "a@",
        "@b.com",
    ],
)
def test_left(text: str) -> None:
    assert private(text, "email") == []
