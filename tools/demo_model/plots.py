"""The plots, read from plots.txt, and what all plots share: openings, thanks, closings, turns of phrase."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

OPENINGS: list[str] = [
    "once upon a time[,|] there lived {a_hero} {home}. {N} was very {trait}: {shows}.",
    "once upon a time[,|] there was {a_hero} who lived {home}. {N} was {trait} and {shows}.",
    "once upon a time[,|] {a_hero} lived {home}. [everyone knew that {N} was {trait}|everyone said that {N} was "
    "{trait}], because {shows}.",
    "once there was {a_hero} who lived {home}. {N} was so {trait} that {shows}.",
    "long ago, {a_hero} lived {home}. {N} was very {trait}: {shows}.",
    "there was once {a_hero}. {N} lived {home} and was [very|known to be] {trait}: {shows}.",
    "{N} was a {a_plain} who lived {home}. {he} was very {trait}: {shows}.",
    "{home}, there lived {a_hero}. {N} was {trait} and {shows}.",
]

CLOSINGS: list[str] = [
    "and from that day on, {N} and {F} were [best|good] friends.",
    "from then on, {N} and {F} met [every day|every morning|every evening].",
    "and if you ever come to that place, you may [see|meet] {N} and {F} there.",
    "and so everything was well in the end.",
]

# Closings for stories that end by day.
DAY_CLOSINGS: list[str] = [
    "that night {N} slept [deeply|well], and the sea sang softly [in the dark|under the stars].",
    "when the moon rose over the water, {N} was [still smiling|happy and tired].",
    "it had been a [long|good] day, and {N} would never forget it.",
]

THANKS: list[str] = [
    '"thank you, {F}!" said {N}, and gave {xim} {food}.',
    '"thank you," said {N}. "you are a true friend." {F} [smiled|laughed] and said, "[any time|you are welcome]!"',
    "[{N}|{he}] thanked {F} with all {his} heart and gave {xim} {food}.",
    '"how can I thank you?" asked {N}. "come and visit me [tomorrow|soon]," said {F}.',
    "to say thank you, {N} [brought|gave] {F} {food}, and they [laughed together|sat together for a long time].",
]

# Turns of phrase that many plots use, as slots.
SHARED: dict[str, str] = {
    "one_day": "[one day|one morning|one afternoon|one sunny day|one summer day]",
    "meet": "[just then|at that moment|a little later|after a while|luckily], {a_friend} came by",
    "sad": "[{N}|{he}] [was very sad|felt like crying|sat down and sighed|did not know what to do]",
    "what": '"[what is the matter|what has happened|why are you so sad|what is wrong]?" [asked {F}|{xe} asked]',
    "let_me": '"[do not worry|do not be sad|be calm]," said [{F}|the {fkind}]. "[I can help you|I will help you|I know '
              'what to do]."',
    "glad": "[{N}|{he}] was [so happy that {he} laughed out loud|very happy|full of joy|so glad]",
}


@dataclass(frozen=True)
class Plot:
    """One kind of story."""

    name: str
    heroes: tuple[str, ...]  # roles that can be the hero
    not_heroes: tuple[str, ...]  # kinds that cannot
    not_traits: tuple[str, ...]
    thanks: bool  # whether the hero still has to thank the friend at the end
    night: bool  # whether the story ends at night
    paragraphs: tuple[tuple[str, ...], ...]  # versions of each paragraph
    variants: tuple[dict[str, str], ...]


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _parse(text: str) -> Plot:
    """One plot of plots.txt, without its leading `== `."""
    head, *blocks = [block for block in text.strip().split("\n\n") if block.strip()]
    name, *lines = head.split("\n")
    properties = dict(line.split(": ", 1) for line in lines)
    paragraphs: list[list[str]] = []
    variants: list[dict[str, str]] = []
    joins = False
    for block in blocks:
        if block == "or":
            joins = True
        elif block.startswith("* "):
            for variant in block[2:].split("\n* "):
                variants.append(dict(line.strip().split(": ", 1) for line in variant.split("\n")))
        elif joins:
            paragraphs[-1].append(block)
            joins = False
        else:
            paragraphs.append([block])
    return Plot(name, _listed(properties["heroes"]), _listed(properties.get("not heroes", "whale")),
                _listed(properties.get("not traits", "")), properties.get("thanks") != "no",
                properties.get("night") == "yes", tuple(map(tuple, paragraphs)), tuple(variants))


PLOTS: list[Plot] = [
    _parse(part) for part in (Path(__file__).parent / "plots.txt").read_text(encoding="utf-8").split("\n== ")[1:]
]
