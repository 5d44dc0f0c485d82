"""The peers' side of redact: Faker's values, and what datatrove and presidio find in given texts.

    python privacy_peers.py WORK.json

The work names a ``mode``: ``values`` prints Faker's by kind; ``find`` prints, for each text and peer, the labelled
value's fate; ``speed`` prints datatrove's seconds over documents.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

LEAST_SCORE = 0.4  # of presidio's, which a caller has to choose; a telephone number in its own format has 0.4


def values(each: int) -> dict[str, list[str]]:
    """Private values by Faker's own rules, which nobody here wrote."""
    from faker import Faker

    Faker.seed(0)
    china, america = Faker("zh_CN"), Faker("en_US")
    european = [Faker(name) for name in ("de_DE", "fr_FR", "en_GB", "it_IT", "nl_NL", "es_ES", "pl_PL")]
    makers = {
        # Not email(): it draws from the names reserved for examples, which are nobody's.
        "email": (
            china.free_email,
            *(fake.free_email for fake in european),
            *(f.ascii_company_email for f in european),
        ),
        "phone": (china.phone_number, america.phone_number),
        "ip": (america.ipv4_public,),  # its ipv6 draws from all addresses, assigned or not
        "credit_card": (america.credit_card_number,),
        "resident_id": (china.ssn,),
        "passport": (america.passport_number,),
        "iban": tuple(fake.iban for fake in european),
    }
    return {kind: [calls[number % len(calls)]() for number in range(each)] for kind, calls in makers.items()}


def datatrove_formatter() -> Any:
    """Its e-mail and address replacer."""
    from datatrove.pipeline.formatters import PIIFormatter

    return PIIFormatter()


def find(cases: list[list[Any]]) -> dict[str, list[Any]]:
    """By peer: was the value found (or, where there is none, was anything)? None: the peer has no such kind."""
    from presidio_analyzer.predefined_recognizers import (
        CreditCardRecognizer,
        EmailRecognizer,
        IbanRecognizer,
        IpRecognizer,
        PhoneRecognizer,
    )

    formatter = datatrove_formatter()
    recognizers = {
        "email": (EmailRecognizer(), "EMAIL_ADDRESS"),
        "ip": (IpRecognizer(), "IP_ADDRESS"),
        "credit_card": (CreditCardRecognizer(), "CREDIT_CARD"),
        "iban": (IbanRecognizer(), "IBAN_CODE"),
        "phone": (PhoneRecognizer(supported_regions=("US", "GB", "DE", "CN", "FR")), "PHONE_NUMBER"),
    }
    found: dict[str, list[Any]] = {"datatrove": [], "presidio": []}
    for text, start, end, kind in cases:
        known = kind in ("email", "ip") or not kind
        changed = formatter.format(text)
        fate = text[start:end] not in changed if kind else changed != text
        found["datatrove"].append(fate if known else None)
        if kind and kind not in recognizers:
            found["presidio"].append(None)
            continue
        hits = [
            hit
            for name, (recognizer, entity) in recognizers.items()
            if not kind or name == kind
            for hit in recognizer.analyze(text, [entity], None)
            if hit.score >= LEAST_SCORE
        ]
        found["presidio"].append(any(not kind or (hit.start <= start and hit.end >= end) for hit in hits))
    return found


def speed(documents: list[str]) -> float:
    """Processor seconds of datatrove's formatter over ``documents``."""
    formatter = datatrove_formatter()
    began = time.process_time()
    for text in documents:
        formatter.format(text)
    return time.process_time() - began


def main() -> None:
    """Do the work and print JSON."""
    work = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    done: Any
    match work["mode"]:
        case "values":
            done = values(work["each"])
        case "find":
            done = find(work["cases"])
        case "speed":
            done = speed(work["documents"])
    print(json.dumps(done))


if __name__ == "__main__":
    main()
