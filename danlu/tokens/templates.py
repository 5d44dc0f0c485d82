"""Chat templates by name, each with its answers marked: what a model that has none, or a wrong one, is trained with.

The formats are those that models were published with (ChatML; Llama 2: Touvron et al. 2023, arXiv:2307.09288; Llama 3;
Qwen2.5 with its calls of tools; Mistral 0.3) or data sets (Alpaca: Taori et al. 2023); the templates were written here,
by four rules. No system message is added unasked. Content is trimmed, so that what a template writes around it is
tokenised alike whatever it is. What stands before an answer is what ``add_generation_prompt`` ends with, so that a
prompt has the very ids that training saw. And the end of the turn is inside the answer, so that it is learned.

Left out: the calls of tools of Llama 3.1 and Mistral, which need random ids and dates; ``qwen`` has tools. Nothing is
imported here: recipes name templates, and reading a recipe starts nothing.
"""

from typing import Literal, NamedTuple

TemplateName = Literal["own", "chatml", "qwen", "llama2", "llama3", "mistral", "alpaca", "plain"]
# How a conversation of several turns is learned (`danlu.tokens.samples`)
Learn = Literal["all", "each", "last"]

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ (message['content'] | trim) + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}"
    "{{ (message['content'] | trim) + '<|im_end|>' }}"
    "{% endif %}"
    "{{ '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

# The words about tools are part of the format: Qwen2.5 and the Hermes models were trained on them, and what parses
# calls in vLLM and elsewhere expects what follows from them.
QWEN = (
    "{% set begun = messages[0]['role'] == 'system' %}"
    "{% if tools %}"
    "{{ '<|im_start|>system\\n' }}"
    "{% if begun %}{{ (messages[0]['content'] | trim) + '\\n\\n' }}{% endif %}"
    "{{ '# Tools\\n\\nYou may call one or more functions to assist with the user query.\\n\\nYou are provided with "
    "function signatures within <tools></tools> XML tags:\\n<tools>' }}"
    "{% for tool in tools %}{{ '\\n' }}{{ tool | tojson }}{% endfor %}"
    "{{ '\\n</tools>\\n\\nFor each function call, return a json object with function name and arguments within "
    '<tool_call></tool_call> XML tags:\\n<tool_call>\\n{"name": <function-name>, "arguments": <args-json-object>}\\n'
    "</tool_call><|im_end|>\\n' }}"
    "{% elif begun %}"
    "{{ '<|im_start|>system\\n' + (messages[0]['content'] | trim) + '<|im_end|>\\n' }}"
    "{% endif %}"
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}"
    "{{ '<|im_start|>user\\n' + (message['content'] | trim) + '<|im_end|>\\n' }}"
    "{% elif message['role'] == 'assistant' %}"
    "{{ '<|im_start|>assistant\\n' }}"
    "{% generation %}"
    "{{ message['content'] | trim }}"
    "{% for call in message['tool_calls'] or [] %}"
    "{% if message['content'] | trim or not loop.first %}{{ '\\n' }}{% endif %}"
    "{{ '<tool_call>\\n{\"name\": \"' + call['function']['name'] + '\", \"arguments\": ' }}"
    "{{ call['function']['arguments'] | tojson }}{{ '}\\n</tool_call>' }}"
    "{% endfor %}"
    "{{ '<|im_end|>' }}"
    "{% endgeneration %}"
    "{{ '\\n' }}"
    "{% elif message['role'] == 'tool' %}"
    "{% if messages[loop.index0 - 1]['role'] != 'tool' %}{{ '<|im_start|>user' }}{% endif %}"
    "{{ '\\n<tool_response>\\n' + (message['content'] | trim) + '\\n</tool_response>' }}"
    "{% if loop.last or messages[loop.index0 + 1]['role'] != 'tool' %}{{ '<|im_end|>\\n' }}{% endif %}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

LLAMA3 = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ (message['content'] | trim) + '<|eot_id|>' }}{% endgeneration %}"
    "{% else %}"
    "{{ (message['content'] | trim) + '<|eot_id|>' }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)

# Every round begins with the beginning of a text and ends with its end. The space before an answer belongs to it: a
# prompt ends with [/INST], and a tokenizer joins the space to the first word.
LLAMA2 = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}"
    "{{ bos_token }}{{ '[INST] ' }}"
    "{% if loop.index0 == 1 and messages[0]['role'] == 'system' %}"
    "{{ '<<SYS>>\\n' + (messages[0]['content'] | trim) + '\\n<</SYS>>\\n\\n' }}"
    "{% endif %}"
    "{{ (message['content'] | trim) + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}"
    "{% generation %}{{ ' ' + (message['content'] | trim) + ' ' + eos_token }}{% endgeneration %}"
    "{% endif %}"
    "{% endfor %}"
)

# The system message stands in the first question, where it stays as a conversation grows; Mistral's own puts it in
# the last one, so that an answer in the middle would be learned after a prompt that no inference makes.
MISTRAL = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}"
    "{{ '[INST] ' }}"
    "{% if loop.index0 == 1 and messages[0]['role'] == 'system' %}"
    "{{ (messages[0]['content'] | trim) + '\\n\\n' }}"
    "{% endif %}"
    "{{ (message['content'] | trim) + '[/INST]' }}"
    "{% elif message['role'] == 'assistant' %}"
    "{% generation %}{{ ' ' + (message['content'] | trim) + eos_token }}{% endgeneration %}"
    "{% endif %}"
    "{% endfor %}"
)

ALPACA = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}"
    "{{ (message['content'] | trim) + '\\n\\n' }}"
    "{% elif message['role'] == 'user' %}"
    "{% if loop.index0 > 1 %}{{ '\\n\\n' }}{% endif %}"
    "{{ '### Instruction:\\n' + (message['content'] | trim) + '\\n\\n### Response:\\n' }}"
    "{% elif message['role'] == 'assistant' %}"
    "{% generation %}{{ (message['content'] | trim) + eos_token }}{% endgeneration %}"
    "{% endif %}"
    "{% endfor %}"
)

# A prompt and its continuation a line further down, for models that complete and do not talk
PLAIN = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ (message['content'] | trim) + eos_token }}{% endgeneration %}"
    "{% else %}"
    "{{ (message['content'] | trim) + '\\n' }}"
    "{% endif %}"
    "{% endfor %}"
)


class Named(NamedTuple):
    """A template, and the special tokens without which it would be text like any other."""

    source: str
    tokens: tuple[str, ...] = ()


TEMPLATES = {
    "chatml": Named(CHATML, ("<|im_start|>", "<|im_end|>")),
    "qwen": Named(QWEN, ("<|im_start|>", "<|im_end|>")),
    "llama2": Named(LLAMA2),
    "llama3": Named(LLAMA3, ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")),
    "mistral": Named(MISTRAL),
    "alpaca": Named(ALPACA),
    "plain": Named(PLAIN),
}
