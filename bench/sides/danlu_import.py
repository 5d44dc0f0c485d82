"""One side of gguf_import: what `danlu import FILE --out DIR` does. Prints its peak resident memory as JSON."""

import json
import resource
import sys
from pathlib import Path

from danlu.recipes.importing import Import, run

run(Import(sys.argv[1], out=Path(sys.argv[2])))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps({"peak_bytes": peak}))
