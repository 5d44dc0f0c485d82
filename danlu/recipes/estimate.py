"""How long a chain will take, roughly, before it starts: arithmetic over a measured rate.

The rate is this machine's matrix product in the format it will train in, of which a training step reaches
about `SHARE`. Minutes are for planning a coffee, not a deadline; the planner of a later stage does better.
"""

from typing import TYPE_CHECKING

from danlu.base.device import matmul_flops, pick_device, pick_precision, torch_dtype
from danlu.base.progress import count
from danlu.recipes.pretrain import Pretrain
from danlu.recipes.sizes import sized

if TYPE_CHECKING:
    from danlu.recipes.chain import Chain, Node

SHARE = 0.4  # of the matrix-product peak; measured 0.35 to 0.6 over sizes and machines
BYTES_PER_TOKEN = 3.8
BYTES_PER_CHAT = 120
CLEAN_BYTES_PER_SECOND, TOKENIZE_BYTES_PER_SECOND = 2e6, 1.2e6
DECODE_STEP_SECONDS = 0.03  # of a batch of 128


def estimate(chain: "Chain", road: "list[Node]") -> dict[str, tuple[str, float]]:
    """Stage → (what it will do, seconds)."""
    from danlu.recipes.chain import size_of

    recipes = {node.name: node.recipe for node in road}
    device = pick_device(chain.device)
    dtype = torch_dtype(pick_precision(chain.precision, device))
    rate = SHARE * matmul_flops(dtype, kind=device.type)
    text, chats = size_of(chain.text), size_of(chain.chats)
    trainer: Pretrain = recipes["pretrain"]
    config = trainer.shape.apply(sized(trainer.size, chain.vocab_size, trainer.length))
    steps = trainer.steps(int(text / BYTES_PER_TOKEN))
    tokens = steps * trainer.rows * trainer.length
    cost = config.flops_per_token(trainer.length) / rate
    found = {
        "clean": (f"{count(text)}B of text", text / CLEAN_BYTES_PER_SECOND),
        "tokenizer": (f"{chain.vocab_size} ids", text / TOKENIZE_BYTES_PER_SECOND),
        "tokens": (f"about {count(text / BYTES_PER_TOKEN)} tokens", text / TOKENIZE_BYTES_PER_SECOND),
        "pretrain": (f"{count(config.parameters())} parameters, {count(tokens)} tokens, {steps} steps", tokens * cost),
        "evaluation": ("held-out text and answers, xz -9e", text / 4e5 + 8),
        "model": ("Hugging Face directory", 1.0),
    }
    if "sft" in recipes:
        tuner = recipes["sft"]
        most = tuner.most_per_source * BYTES_PER_CHAT
        used = sum(min(size_of((given,)), most or chats) for given in chain.chats)
        seconds = tuner.epochs * used / BYTES_PER_TOKEN * cost
        found["sft"] = (f"about {count(used)}B of chats, {tuner.epochs:g} epochs", seconds)
    if "preferences" in recipes:
        sampler = recipes["preferences"]
        batches = sampler.prompts * sampler.answers / 128
        decoding = batches * sampler.max_new_tokens * DECODE_STEP_SECONDS
        found["preferences"] = (f"{sampler.prompts} prompts, {sampler.answers} answers each", decoding)
    if "dpo" in recipes:
        pairs = recipes["preferences"].prompts if "preferences" in recipes else 1000
        found["dpo"] = (f"about {pairs} pairs", recipes["dpo"].epochs * pairs * 2 * 128 * cost * 4 / 3)
    return found
