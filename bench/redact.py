"""Privacy: precision and recall of every kind on labelled cases, false alarms on clean text, speed; against peers.

    make bench NAME=redact         (about five minutes)

Three sets. `private_cases` draws 4,050 private values and 4,500 traps, in Chinese and English. Faker draws 1,400 values
by rules that nobody here wrote, set into the same sentences, for recall only. And clean text of installed packages,
where every find was looked at. Peers: datatrove's PIIFormatter (e-mail, IPv4), presidio's recognisers of five kinds.
A value counts as found if a find of its kind covers it; a find is right if it covers a labelled value of its kind.
"""

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

from common import BENCH, Record, answer, options, peer_python, write
from private_cases import SAID, ZH, Case, Draw, cases, sentences

EACH, FAKED, ROUNDS = 450, 200, 3
AIM, MEGABYTES = 0.98, 20
CLEAN = ("sanguo", "tatoeba", "python", "numpy")


def wilson(right: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    if of == 0:
        return 0.0, 1.0
    z, share = 1.959964, right / of
    middle, spread = share + z * z / (2 * of), z * (share * (1 - share) / of + z * z / (4 * of * of)) ** 0.5
    return (middle - spread) / (1 + z * z / of), (middle + spread) / (1 + z * z / of)


def shown(right: int, of: int) -> str:
    """'449 of 450 = 0.998 [0.987, 1.000]'."""
    low, high = wilson(right, of)
    return f"{right} of {of} = {right / max(of, 1):.3f} [{low:.3f}, {high:.3f}]"


def judge(labelled: Sequence[Case]) -> tuple[dict[str, list[int]], dict[str, list[int]], Counter[str]]:
    """By kind: [found, values] and [right, finds]; by trap: false alarms."""
    from danlu.text.redact.redact import find

    recall, precision, alarms = defaultdict(lambda: [0, 0]), defaultdict(lambda: [0, 0]), Counter[str]()
    for case in labelled:
        found = find(case.text)
        covering = [m for m in found if m.kind == case.kind and m.start <= case.start and m.end >= case.end]
        if case.kind:
            recall[case.kind][0] += bool(covering)
            recall[case.kind][1] += 1
        for match in found:
            precision[match.kind][0] += match in covering
            precision[match.kind][1] += 1
            alarms[case.what] += match not in covering
    return recall, precision, alarms


def faked(values: dict[str, list[str]]) -> list[Case]:
    """Faker's values in our sentences."""
    draw, found = Draw(1), []
    around = {language: sentences(language) for language in ("zh", "en")}
    for kind, all_values in values.items():
        for number, value in enumerate(all_values):
            chinese = kind == "resident_id" or (kind == "phone" and number % 2 == 0) or (kind == "email" and number % 2)
            language = ZH if chinese else "en"
            said = draw.choice(SAID[kind][language]).format(value)
            text = draw.choice(around[language]) + ("" if language == ZH else " ") + said
            start = len(text) - len(said) + said.index(value)
            found.append(Case(text, start, start + len(value), kind, kind))
    return found


def total(counts: dict[str, list[int]]) -> tuple[int, int]:
    """Both columns' sums."""
    return sum(a for a, _ in counts.values()), sum(b for _, b in counts.values())


def clean_documents() -> list[str]:
    """Prose and documentation."""
    from danlu.text import packages

    return [document.text for name in CLEAN for document in packages.documents(name)]


def ours_seconds(documents: list[str]) -> float:
    """Processor seconds of the step over ``documents``: other work on the machine is not ours."""
    from danlu.text.document import Document
    from danlu.text.redact.redact import Redact

    step, given = Redact(), [Document(text, "", "") for text in documents]
    began = process_time()
    for document in given:
        step(document)
    return process_time() - began


class Peer:
    """The peers' interpreter; each question is a file of JSON."""

    def __init__(self, folder: Path) -> None:
        self.python, self.folder = peer_python("privacy"), folder

    def ask(self, **work: Any) -> Any:
        """What the side prints."""
        path = self.folder / "work.json"
        path.write_text(json.dumps(work), encoding="utf-8")
        return answer([self.python, BENCH / "sides" / "privacy_peers.py", path])


def quality(labelled: list[Case], others: list[Case]) -> list[Record]:
    """Records of recall and precision, and what they are by kind."""
    recall, precision, alarms = judge(labelled)
    (found, values), (right, finds) = total(recall), total(precision)
    traps = sum(not case.kind for case in labelled)
    apart, _, _ = judge(others)
    found_faked, values_faked = total(apart)
    by_kind = {kind: f"recall {shown(*recall[kind])}; precision {shown(*precision[kind])}" for kind in recall}
    return [
        Record("private values found, our cases", "the aim", found / values, AIM, "share", "more", runs=values,
               details={"all": shown(found, values), **by_kind}),
        Record("finds that are right, our cases and traps", "the aim", right / finds, AIM, "share", "more", runs=finds,
               details={"all": shown(right, finds), "traps": traps, "false alarms": dict(+alarms)}),
        Record("private values found, Faker's", "the aim", found_faked / values_faked, AIM, "share", "more",
               runs=values_faked, details={"all": shown(found_faked, values_faked),
                                           **{kind: shown(*apart[kind]) for kind in apart}}),
    ]  # fmt: skip


def against(peer: Peer, labelled: list[Case]) -> list[Record]:
    """Each peer on the kinds that it has, and on the traps."""
    from danlu.text.redact.redact import DEFAULT, Kind, find

    fates = peer.ask(mode="find", cases=[[case.text, case.start, case.end, case.kind] for case in labelled])
    records = []
    for name, kinds in (("datatrove", ("email", "ip")), ("presidio", ("email", "ip", "credit_card", "iban", "phone"))):
        asked = tuple(kind for kind in DEFAULT if kind in kinds)
        assert all(isinstance(kind, str) for kind in asked)
        wanted: tuple[Kind, ...] = asked
        ours, theirs, values, alarms, traps = Counter[str](), Counter[str](), Counter[str](), [0, 0], 0
        for case, fate in zip(labelled, fates[name], strict=True):
            found = find(case.text, wanted)
            if not case.kind:
                alarms[0] += bool(found)
                alarms[1] += bool(fate)
                traps += 1
            elif case.kind in kinds:
                values[case.kind] += 1
                theirs[case.kind] += bool(fate)
                ours[case.kind] += any(
                    m.kind == case.kind and m.start <= case.start and m.end >= case.end for m in found
                )
        number = values.total()
        by_kind = {k: f"{shown(ours[k], values[k])} against {shown(theirs[k], values[k])}" for k in kinds}
        records += [
            Record(f"private values found ({', '.join(kinds)})", name, ours.total() / number, theirs.total() / number,
                   "share", "more", runs=number, details=by_kind),
            Record(f"traps taken for one of these ({name}'s kinds)", name, alarms[0] / traps, alarms[1] / traps,
                   "share", "less", runs=traps),
        ]  # fmt: skip
    return records


def speed(peer: Peer, documents: list[str], rounds: int) -> list[Record]:
    """Megabytes a second over clean text, in turn."""
    size = sum(len(text.encode()) for text in documents) / 1e6
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(rounds):
        seconds["ours"].append(ours_seconds(documents))
        seconds["theirs"].append(peer.ask(mode="speed", documents=documents))
    ours, theirs = (size / statistics.median(seconds[side]) for side in ("ours", "theirs"))
    what = f"clean text of packages, {size:.1f} MB, nine kinds against two"
    return [
        Record(f"redaction of {what}", "datatrove", ours, theirs, "MB/s", "more", runs=rounds),
        Record("redaction of clean text, against the aim", "the aim", ours, MEGABYTES, "MB/s", "more", runs=rounds),
    ]


def alarms_on_clean(documents: list[str]) -> Record:
    """Finds in text that should have few; what they are stands in the details."""
    from danlu.text.redact.redact import find

    counts, size = Counter[str](), sum(len(text.encode()) for text in documents) / 1e6
    for text in documents:
        counts.update(match.kind for match in find(text) if match.kind != "email")
    return Record(f"finds other than e-mail in {size:.1f} MB of clean text", "the aim: at most 1 in a megabyte",
                  counts.total() / size, 1.0, "finds/MB", "less", details=dict(counts))  # fmt: skip


def main() -> None:
    """Measure and write."""
    given = options(__doc__)
    each, rounds = (20, 1) if given.quick else (EACH, ROUNDS)
    labelled = cases(0, each)
    documents = clean_documents()[:200] if given.quick else clean_documents()
    with TemporaryDirectory() as folder:
        peer = Peer(Path(folder))
        others = faked(peer.ask(mode="values", each=20 if given.quick else FAKED))
        records = quality(labelled, others)
        records += against(peer, labelled[:: 1 if given.quick else 3])
        records += speed(peer, documents, rounds)
    records.append(alarms_on_clean(documents))
    peers = {"datatrove": "0.10.1", "presidio-analyzer": "2.2.366", "faker": "40.54.0"}
    write("redact", records, peers=peers, quick=given.quick)


if __name__ == "__main__":
    main()
