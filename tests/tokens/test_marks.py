"""Marks in chat templates: the ids stay what they were, the answers and their ends are what is learned."""

import pytest

from danlu.tokens.chat import check_template, render
from danlu.tokens.marks import mark_answers
from danlu.tokens.templates import CHATML
from danlu.tokens.tokenizer import Tokenizer

CHAT = [
    {"role": "user", "content": "Who?"},
    {"role": "assistant", "content": " the fox\n"},
    {"role": "user", "content": "天下"},
    {"role": "assistant", "content": "分久必合"},
]
# As published, the names of their special tokens changed to those of the test's tokenizer
SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are helpful<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN = (
    "{%- for message in messages %}\n    {%- if (message.role == 'user') or message.role == 'assistant' %}\n"
    "        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n"
    "    {%- else %}\n        {{- '<|im_start|>system\\n' ~ message.content ~ '<|im_end|>\\n' }}\n    {%- endif %}\n"
    "{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}\n"
)
ZEPHYR = (
    "{% for message in messages %}\n{% if message['role'] == 'user' %}\n"
    "{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n"
    "{{ '<|system|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n"
    "{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('no') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] | trim + ' ' + eos_token }}{% endif %}"
    "{% endfor %}"
)
LLAMA3 = (
    "{% for message in messages %}{% set content = '<|im_start|>' + message['role'] + '\n\n' + message['content'] | trim "
    "+ '<|im_end|>' %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n\n' }}{% endif %}"
)


@pytest.mark.parametrize("template", [SMOLLM2, QWEN, ZEPHYR, MISTRAL], ids=["smollm2", "qwen", "zephyr", "mistral"])
def test_published_templates_are_marked(tokenizer: Tokenizer, template: str) -> None:
    plain = tokenizer.with_config(chat_template=template)
    marked = mark_answers(plain)
    assert marked is not None
    assert marked != template
    found = tokenizer.with_config(chat_template=marked)
    check_template(found)
    for chat, prompt in ((CHAT, False), (CHAT[:2], False), (CHAT[:3], True)):
        rendered = render(found, chat, add_generation_prompt=prompt)
        assert rendered.ids == render(plain, chat, add_generation_prompt=prompt).ids
    learned = [i for i, m in zip(*(render(found, CHAT).ids, render(found, CHAT).mask)) if m]
    end = found.token(found.end_of_turn_id)
    written = "".join(found.decode(learned, skip_special=False).split())
    assert written == f"thefox{end}分久必合{end}"
    assert mark_answers(found) == marked  # what is marked stays as it is


def test_a_marked_template_and_none_stay_as_they_are(tokenizer: Tokenizer) -> None:
    assert mark_answers(tokenizer) == CHATML
    assert mark_answers(tokenizer.with_config(chat_template=None)) is None


@pytest.mark.parametrize(
    "template",
    [
        LLAMA3,
        "{% for m in messages %}{{ m.role + ': ' + m.content }}{% endfor %}",  # no end of a turn
        "{{ messages[0].content + eos_token }}",  # no loop
        "{% for m in messages %}{{ 'a' if m.content + '<|im_end|>' else 'b' }}{% endfor %}",  # no sum
        "{% for m in messages %}{{ (m.content + '<|im_end|>') * 2 }}{% endfor %}",  # inside another
        "{% for m in messages %}{{ 2 * m.content + '<|im_end|>' }}{% endfor %}",  # not the content alone
        "{% for m in messages %}{{ m.content + '<|im_end|>' }}{{ m.content + '<|im_end|>' }}{% endfor %}",  # twice
        "{% for m in messages %}{{ 'a' + m.content + '<|im_end|>'",  # not Jinja
    ],
)
def test_what_cannot_be_marked_safely_is_left(tokenizer: Tokenizer, template: str) -> None:
    assert mark_answers(tokenizer.with_config(chat_template=template)) is None


def test_with_config_changes_what_it_is_told(tokenizer: Tokenizer) -> None:
    other = tokenizer.with_config(pad_token="<|im_end|>", chat_template="x")
    assert (other.pad_id, other.chat_template) == (tokenizer.end_of_turn_id, "x")
    assert tokenizer.token(tokenizer.pad_id) == "<|pad|>"
    assert other.encode("the fox <|pad|>") == tokenizer.encode("the fox <|pad|>")
