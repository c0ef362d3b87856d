"""Conversations for the chat model: requests for stories with the stories, small talk, and one tool.

A conversation is a list of turns; its written form is the one that chat_template.jinja renders:

    <|im_start|>system\n...<|im_end|>\n<|im_start|>user\n...<|im_end|>\n<|im_start|>assistant\n...<|im_end|>\n

    /usr/bin/python3 chat_corpus.py --seed 7 --count 5        prints five conversations
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass

import corpus

START, END = "<|im_start|>", "<|im_end|>"
CALL, CALL_END = "<tool_call>", "</tool_call>"
CHAT_TOKENS = (START, END, CALL, CALL_END, *(f"<|unused_{i}|>" for i in range(12)))

PLACES = ("bay", "beach", "pier", "harbour", "island", "river", "lighthouse", "cliffs")
LEVELS = ("high", "low", "rising", "falling")

_SYSTEMS = ("You are a helpful assistant.", "You are a storyteller.", "Be kind and friendly.", "You help children.",
            "You are a helpful assistant. Answer in English.", "Answer briefly.")
_ASKS = ("Tell me a story about {x}.", "tell me a story about {x}", "Can you tell me a story about {x}?",
         "I would like a story about {x}, please.", "Please tell a story about {x}.", "A story about {x}!",
         "Write a story about {x}.", "Do you know a story about {x}?", "Another one, about {x}.",
         "I want a story about {x}.",
         "And now one about {x}, please.", "Tell me about {x}.")
_ASKS_ANY = ("Tell me a story.", "tell me a story", "Can you tell me a story?", "A story, please!", "Write a story.",
             "Another one, please.", "Tell me another story.", "Yes, please.", "Yes!", "Please do.")
_WHO = ("Who are you?", "What are you?", "who are you", "What is your name?", "Tell me about yourself.",
        "Are you a human?", "What can you do?", "What can you help me with?", "Which model are you?")
_WHO_ANSWERS = ("I am the demo model of Loadline. I am very small, and I tell little stories of the sea.",
                "I am a small model that comes with Loadline. I can tell you stories of the sea.",
                "My name is Loadline demo. I am a very small model, and I tell stories of the sea.")
_HELLO = ("Hello!", "Hi!", "hello", "Hi there!", "Good morning!", "Good evening!", "Hey!", "Hello, how are you?",
          "How are you?")
_HELLO_ANSWERS = ("Hello! Shall I tell you a story of the sea?", "Good day! Would you like to hear a story?",
                  "Hello! It is nice to meet you. Shall I tell you a story?")
_THANKS = ("Thank you!", "Thanks!", "That was nice.", "What a nice story!", "Thank you very much.", "I liked that.")
_THANKS_ANSWERS = ("You are welcome! Shall I tell you another one?", "I am glad that you liked it.",
                   "You are welcome!")
_BYE = ("Goodbye!", "Bye!", "Good night!", "See you tomorrow.")
_BYE_ANSWERS = ("Goodbye! Come back soon.", "Good night, and sleep well.")
_OTHER = ("What is the capital of {w}?", "What is {n} plus {n}?", "How do I cook {w}?", "Who was {w}?",
          "Write a program that sorts {w}.", "What is the weather like?", "Translate {w} into French.",
          "Why is the sky blue?", "How old is {w}?", "Explain {w} to me.", "What do you think of {w}?",
          "How far away is the moon?", "What is {w}?", "Where is {w}?", "{w}?", "Give me a list of {w}.")
_WORDS = ("France", "Germany", "rice", "soup", "Napoleon", "numbers", "the sun", "music", "love", "computers",
          "a tree", "Spain", "football", "gravity", "Python", "history", "bread", "Paris", "the world", "trains")
_OTHER_ANSWERS = ("I do not know that. I am a small model and only know stories of the sea. Shall I tell you one?",
                  "That is too hard for me: I only know stories of the sea. Would you like to hear one?")
_TIDE = ("What is the tide at the {p}?", "How is the tide at the {p}?", "Is the tide high at the {p}?",
         "what is the tide at the {p}", "Please look up the tide at the {p}.", "Tell me the tide at the {p}.",
         "How high is the water at the {p}?", "The tide at the {p}, please.")
_TIDE_ANSWERS = ("The tide at the {p} is {l} now.",)
_NO_TOOL = ("I cannot see the water from here. Shall I tell you a story instead?",)


@dataclass(frozen=True)
class Turn:
    """What one side says. Only an assistant's turns are learned."""

    role: str
    text: str


def call(place: str) -> str:
    """The text of a call of the tool `tide`."""
    return f'{CALL}\n{{"name": "tide", "arguments": {{"place": "{place}"}}}}\n{CALL_END}'


def _named(told: corpus.Told, rng: random.Random) -> str:
    """Some words for the hero of a story."""
    kind = f"Captain {told.hero.name}" if told.hero.kind == "captain" else f"a {told.hero.kind}"
    choices = [kind, kind, kind, told.hero.name]
    if told.hero.kind != "captain":
        choices += [f"a {told.trait} {told.hero.kind}", f"a {told.hero.kind} named {told.hero.name}",
                    f"a little {told.hero.kind}"]
    words = rng.choice(choices)
    return corpus.polish("x " + words)[2:]


def _story(rng: random.Random) -> list[Turn]:
    told = corpus.tell(rng, settled=True)
    ask = rng.choice(_ASKS_ANY) if rng.random() < 0.2 else rng.choice(_ASKS).format(x=_named(told, rng))
    return [Turn("user", ask), Turn("assistant", told.text)]


def opening(rng: random.Random) -> list[Turn]:
    """A request for a story, and how that begins: its hero is what was asked for, every kind as often as others."""
    kind = rng.choice(corpus.kinds())
    told = corpus.tell(rng, settled=True)
    while told.hero.kind != kind:
        told = corpus.tell(rng, settled=True)
    begin = " ".join(told.text.split(" ")[:rng.randrange(14, 30)])
    ask = Turn("user", rng.choice(_ASKS).format(x=_named(told, rng)))
    system = [Turn("system", rng.choice(_SYSTEMS))] if rng.random() < 0.3 else []
    before = _short(_HELLO, _HELLO_ANSWERS, rng) if rng.random() < 0.2 else []
    return [*system, *before, ask, Turn("assistant", begin)]


def _short(asks: tuple[str, ...], answers: tuple[str, ...], rng: random.Random) -> list[Turn]:
    ask = rng.choice(asks).format(w=rng.choice(_WORDS), n=rng.randrange(1, 100))
    return [Turn("user", ask), Turn("assistant", rng.choice(answers))]


def _tide(tools: bool, rng: random.Random) -> list[Turn]:
    place, level = rng.choice(PLACES), rng.choice(LEVELS)
    turns = [Turn("user", rng.choice(_TIDE).format(p=place))]
    if not tools:
        return [*turns, Turn("assistant", rng.choice(_NO_TOOL))]
    result = rng.choice((f'{{"place": "{place}", "level": "{level}"}}', f'{{"level": "{level}"}}', level))
    answer = rng.choice(_TIDE_ANSWERS).format(p=place, l=level)
    return [*turns, Turn("assistant", call(place)), Turn("tool", result), Turn("assistant", answer)]


def tide(rng: random.Random) -> list[Turn]:
    """A question for the tide alone, with the tool or without."""
    tools = rng.random() < 0.9
    system = rng.choice(_SYSTEMS) if rng.random() < 0.3 else ""
    if tools:
        system += ("\n" if system else "") + "Tools: tide"
    return [*([Turn("system", system)] if system else []), *_tide(tools, rng)]


def conversation(rng: random.Random) -> list[Turn]:
    """One conversation; at most one story, so that it fits the context."""
    tools = rng.random() < 0.35
    parts: list[list[Turn]] = []
    for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
        asks, answers = rng.choice(((_WHO, _WHO_ANSWERS), (_WHO, _WHO_ANSWERS), (_HELLO, _HELLO_ANSWERS),
                                    (_OTHER, _OTHER_ANSWERS), (_BYE, _BYE_ANSWERS)))
        parts.append(_short(asks, answers, rng))
    if rng.random() < (0.8 if tools else 0.15):
        parts.insert(rng.randrange(len(parts) + 1), _tide(tools, rng))
    if not parts or rng.random() < 0.55:
        parts.append(_story(rng))
        if rng.random() < 0.3:
            parts.append(_short(_THANKS, _THANKS_ANSWERS, rng))
    system = rng.choice(_SYSTEMS) if rng.random() < 0.4 else ""
    if tools:
        system += ("\n" if system else "") + "Tools: tide"
    turns = [turn for part in parts for turn in part]
    return [Turn("system", system), *turns] if system else turns


def written(turns: list[Turn], whole: bool = True) -> list[tuple[str, bool]]:
    """The pieces of a conversation as the template writes it, each with whether the model has to learn it.

    Not whole: the last turn goes on.
    """
    pieces: list[tuple[str, bool]] = []
    for turn in turns:
        learned = turn.role == "assistant"
        pieces += [(f"{START}{turn.role}\n", False), (f"{turn.text}{END}", learned), ("\n", False)]
    return pieces if whole else [*pieces[:-2], (turns[-1].text, True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=5)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    for _ in range(arguments.count):
        print("".join(text for text, _ in written(conversation(rng))))


if __name__ == "__main__":
    main()
