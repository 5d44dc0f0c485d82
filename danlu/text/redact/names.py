"""Names of people next to a title or a label: an option, for it costs names of the famous as well.

English: one to three capitalised words after Mr, Mrs, Ms, Miss, Dr or Prof. Chinese: a common surname (about a
hundred, and the usual double ones) with up to two characters before 先生, 女士 and the like, and what follows 姓名：.
A name without either is not found; that would take a model, and more false alarms than are worth it.
"""

import re
from collections.abc import Iterator

from danlu.text.redact.digits import HAN
from danlu.text.redact.scan import Span

# Common surnames, in both scripts: together they name nearly nine people in ten.
SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔"
    "钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤"
    "張劉陳楊黃趙吳孫馬鄭謝許韓馮鄧蕭蔣葉蘇呂盧鍾譚陸範賈鄒邱閻龍賀顧龔萬錢嚴湯"
)
DOUBLE = "欧阳|司马|上官|诸葛|慕容|司徒|皇甫|夏侯|尉迟|公孙|东方|令狐|端木|歐陽|司馬|諸葛"
TITLES = "先生|女士|小姐|太太|老师|教授|医生|大夫|经理|主任|律师|同学|同志|博士|院长|校长|局长|老師|醫生|經理|律師|校長"
TITLED = re.compile(f"((?:{DOUBLE}|[{SURNAMES}])[{HAN}]{{0,2}}?)(?:{TITLES})")
LABELS = "姓名|联系人|收件人|收货人|负责人|聯繫人"
LABELLED = re.compile(f"(?:{LABELS})[ \u3000]?[：:][ \u3000]?([{HAN}]{{2,4}}(?:·[{HAN}]{{1,8}})?)(?![{HAN}])")
NOT_NAMES = re.compile("^(?:任何|何|有|于|向|方|万|高级|金牌|马上|白|石|段|江|史|武)$")
WORD = "[A-Z][a-z]+(?:['-][A-Z][a-z]+)?"
ENGLISH = re.compile(
    r"(?<![A-Za-z])(?:Mr|Mrs|Ms|Miss|Dr|Prof|Mister|Professor|Doctor)\.? "
    rf"({WORD}(?: (?:[A-Z]\.|{WORD})){{0,2}})(?![a-z])"
)
SPOKEN = re.compile(f"{TITLES}|{LABELS}")


def find(text: str) -> Iterator[Span]:
    """Names, without their titles."""
    for found in ENGLISH.finditer(text):
        yield found.start(1), found.end(1)
    if text.isascii() or not SPOKEN.search(text):
        return
    for found in LABELLED.finditer(text):
        yield found.span(1)
    for found in TITLED.finditer(text):
        if not NOT_NAMES.match(found[1]):
            yield found.span(1)
