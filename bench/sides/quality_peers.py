"""The peers' side of quality: scikit-learn's hashing and logistic regression, and fastText, on texts from a file.

    python quality_peers.py WORK.json sklearn|fasttext

Words and their pairs where the task is English, characters and their pairs and triples where it is Chinese or both,
2^18 features as on Danlu's side. fastText reads Chinese with a space between characters, five epochs, and is given the
learning rate that suits so few texts better than its default. Prints, for each task, seconds of training and of
scoring, scores of the test texts, and the model's size as JSON. Imports nothing of Danlu.
"""

import json
import os
import re
import sys
import time
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

FEATURES = 1 << 18
SPACED = re.compile("([\u3400-\u9fff])")


def sklearn(task: dict[str, Any]) -> dict[str, Any]:
    """HashingVectorizer and LogisticRegression, both kinds weighing the same."""
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import LogisticRegression

    how = {"analyzer": "word", "ngram_range": (1, 2)} if task["words"] else {"analyzer": "char", "ngram_range": (1, 3)}
    vectorizer = HashingVectorizer(n_features=FEATURES, alternate_sign=False, **how)
    began = time.perf_counter()
    model = LogisticRegression(class_weight="balanced", max_iter=200)
    model.fit(vectorizer.transform(task["texts"]), task["good"])
    trained = time.perf_counter()
    scores = model.decision_function(vectorizer.transform(task["test"]))
    return {
        "training": trained - began,
        "scoring": time.perf_counter() - trained,
        "scores": [float(score) for score in scores],
        "bytes": model.coef_.nbytes,
    }


def fasttext(task: dict[str, Any]) -> dict[str, Any]:
    """Supervised fastText, one thread."""
    import fasttext as library

    def line(text: str) -> str:
        return " ".join((text if task["words"] else SPACED.sub(r" \1 ", text)).lower().split())

    with TemporaryDirectory() as folder:
        file = Path(folder) / "train.txt"
        began = time.perf_counter()
        labelled = zip(task["texts"], task["good"], strict=True)
        file.write_text("".join(f"__label__{good:d} {line(text)}\n" for text, good in labelled), encoding="utf-8")
        grams = 2 if task["words"] else 3
        model = library.train_supervised(
            str(file), wordNgrams=grams, lr=0.5, epoch=5, bucket=FEATURES, thread=1, verbose=0, seed=0
        )
        trained = time.perf_counter()
        scores = []
        for text in task["test"]:
            # The library's own wrapper of `predict` asks NumPy for what NumPy 2 refuses.
            found = {label: chance for chance, label in model.f.predict(line(text) + "\n", 2, 0.0, "strict")}
            scores.append(found.get("__label__1", 0.0) - 0.5)
        scored = time.perf_counter()
        model.save_model(f"{folder}/model.bin")
        size = os.path.getsize(f"{folder}/model.bin")
    return {"training": trained - began, "scoring": scored - trained, "scores": scores, "bytes": size}


def main() -> None:
    """Every task of the file."""
    tasks, peer = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), sys.argv[2]
    found = {name: {"sklearn": sklearn, "fasttext": fasttext}[peer](task) for name, task in tasks.items()}
    package = {"sklearn": "scikit-learn", "fasttext": "fasttext-numpy2-wheel"}[peer]
    print(json.dumps({"tasks": found, "versions": {package: metadata.version(package)}}))


if __name__ == "__main__":
    main()
