"""Keys and tokens. Each is put together here, so that nobody's scanner takes the tests for a leak."""

import pytest

from danlu.text.redact.keys import entropy
from tests.text.redact.cases import private

ALNUM = "aB3dE5gH7jK9mN1pQ4rS6tU8vW0xY2zA4cD6fG8hJ"
HEX = "a8f5f167f44f4964e6c998dee827110c"
JWT = "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
PEM = f"-----BEGIN RSA PRIVATE KEY-----\n{ALNUM}\n{ALNUM}==\n-----END RSA PRIVATE KEY-----"

ISSUED = [
    "AKIA" + "QWERTYUIOP234567",
    "AIza" + ALNUM[:35],
    "ghp_" + ALNUM[:36],
    "github_pat_" + ALNUM + ALNUM,
    "glpat-" + ALNUM[:20],
    "xoxb-" + "123456789012-" + ALNUM[:24],
    "sk-" + ALNUM,
    "sk-proj-" + ALNUM,
    "sk-ant-api03-" + ALNUM,
    "hf_" + ALNUM[:34],
    "sk_live_" + ALNUM[:24],
    "npm_" + ALNUM[:36],
    "SG." + ALNUM[:22] + "." + (ALNUM + ALNUM)[:43],
    "LTAI" + ALNUM[:20],
    "ya29." + ALNUM,
    JWT,
]


@pytest.mark.parametrize("key", ISSUED, ids=lambda key: key[:6])
def test_keys_with_a_prefix(key: str) -> None:
    assert private(f"密钥是{key}，别外传", "key") == [key]
    assert private(f"(see {key}).", "key") == [key]
    assert private(f"x{key}", "key") == []  # a part of a longer word


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"api_key = '{HEX}'", [HEX]),
        (f'"secretKey": "{ALNUM}"', [ALNUM]),
        (f"ACCESS_TOKEN={ALNUM}", [ALNUM]),
        (f"密钥：{ALNUM}", [ALNUM]),
        ("password: d0949w4z", ["d0949w4z"]),
        ("密码是abc12345，", ["abc12345"]),
        ("https://user:pa55word@host.com/x", ["user:pa55word"]),
        (PEM, [PEM]),
        ("https://hooks.slack.com/services/T0123ABCD/B0123ABCD/" + ALNUM[:24],
         ["hooks.slack.com/services/T0123ABCD/B0123ABCD/" + ALNUM[:24]]),
    ],
)  # fmt: skip
def test_keys_with_a_name(text: str, found: list[str]) -> None:
    assert private(text, "key") == found


@pytest.mark.parametrize(
    "text",
    [
        f"commit {HEX}e827110c",
        f"md5: {HEX}",
        "api_key = 'your_api_key_here_1234'",
        "api_key = os.environ['API_KEY_1']",
        "token = get_token_from_request_2(request)",
        "token = getToken22FromRequest9(request)",
        "password = hashlib.sha256(text)",
        "key: a1b2c3d4e5f6a7b8c9d0",  # whose key?
        "secret = aaaaaaaaaaaaaaaa11",  # nothing random about it
        "sk-learn-contrib-something-long-enough",
        "the secret: nobody knows it",
        "https://username:password@host.com/",
        "AKIAIOSFODNN7EXAMPLE",
        "eyJ is how such a token begins",
    ],
)
def test_left(text: str) -> None:
    assert private(text, "key") == []


def test_entropy() -> None:
    assert entropy("aaaa") == 0
    assert entropy("abcd") == 2
    assert entropy("0123456789abcdef") == 4
