"""Public addresses, and what only looks like one."""

import pytest

from tests.text.redact.cases import private


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("服务器114.114.114.114很快", ["114.114.114.114"]),
        ("from [66.187.233.211])", ["66.187.233.211"]),
        ("http://63.211.81.87/x", ["63.211.81.87"]),
        ("dns 8.8.8.8, 1.1.1.1", ["8.8.8.8", "1.1.1.1"]),
        ("end 63.211.81.87.", ["63.211.81.87"]),
        ("63.211.81.87:8080 and 63.211.81.0/24", ["63.211.81.87", "63.211.81.0"]),
        ("dig 2001:4860:4860::8888 now", ["2001:4860:4860::8888"]),
        ("2a00:1450:4001:081b:0000:0000:0000:200e", ["2a00:1450:4001:081b:0000:0000:0000:200e"]),
    ],
)
def test_found(text: str, found: list[str]) -> None:
    assert private(text, "ip") == found


@pytest.mark.parametrize(
    "text",
    [
        "192.168.1.1 10.0.0.1 172.16.3.4 127.0.0.1 169.254.1.1",  # private, loopback, link-local
        "192.0.2.1 198.51.100.7 203.0.113.9 224.0.0.1 255.255.255.255 0.0.0.0",  # documentation, multicast, reserved
        "version 1.2.3.4, v8.42.13.101, build 63.211.81.87, 版本63.211.81.87",
        "see 1.2.3.4 of the manual",
        "1.3.6.1.4.1.311.21.20",  # an object identifier
        "package-63.211.81.87.tar.gz",
        "256.211.81.87 63.211.81 63.211.81.087",
        "std::vector a::b fe80::1 2001:db8::1 ::1 12:30:00 2023:10:05 face::b00c",
    ],
)
def test_left(text: str) -> None:
    assert private(text, "ip") == []
