"""The story planner: picks a plot, a cast and a trait, and writes the story out in sentences.

Templates are plain text with two kinds of marks:
  [one|two|three]  one of the choices, taken at random; choices may be empty and may be nested
  {slot}           a word of the story: {N} the hero's name, {F} the friend's, {he} {him} {his} {himself} the hero's
                   pronouns, {xe} {xim} {xis} the friend's, {kind} and {fkind} what they are, and the plot's own slots
Sentences are written in lower case where a slot opens them: the first letter is raised afterwards, and "a" becomes
"an" where it has to. The hero and the friend never share a pronoun, so that "he" and "she" always tell them apart.

    /usr/bin/python3 corpus.py --seed 7 --stories 3        prints three stories
"""

from __future__ import annotations

import argparse
import functools
import random
import re
from dataclasses import dataclass

from plots import CLOSINGS, DAY_CLOSINGS, OPENINGS, PLOTS, SHARED, THANKS, Plot
from world import CARGOES, CHARACTERS, FOODS, GOALS, HABITS, HOMES, TRAITS, Character

END_OF_TEXT = "<|endoftext|>"

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")
_SENTENCE_START = re.compile(r"(^|[.!?] |\n)([a-z])")
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiou])")

_SPEECH_GOES_ON = re.compile(r" said [A-Z][\w ]*, $")
_SPEECH_TAG = re.compile(r" ((he|she|the \w+) )?(said|asked|called|cried|whispered|wondered|sighed|thought|shouted)\b")

_FORMS = {"she": ("she", "her", "her", "herself"), "he": ("he", "him", "his", "himself")}


def expand(template: str, slots: dict[str, str], rng: random.Random) -> str:
    """Resolves every choice and every slot of a template; slots may hold templates themselves."""
    text = template
    while True:
        match = _CHOICE.search(text)
        if match:
            text = text[: match.start()] + rng.choice(match.group(1).split("|")) + text[match.end():]
            continue
        match = _SLOT.search(text)
        if not match:
            return text
        text = text[: match.start()] + slots[match.group(1)] + text[match.end():]


def _raise_quotes(paragraph: str) -> str:
    """Raises the first letter of each speech, and of the sentence after it where a new one begins."""
    parts = paragraph.split('"')
    for i in range(1, len(parts)):
        spoken, before = i % 2 == 1, parts[i - 1]
        if spoken and not _SPEECH_GOES_ON.search(before):
            parts[i] = parts[i][:1].upper() + parts[i][1:]
        elif not spoken and before[-1:] in ".!?" and not (before[-1:] in "!?" and _SPEECH_TAG.match(parts[i])):
            parts[i] = parts[i][:1] + parts[i][1:2].upper() + parts[i][2:]
    return '"'.join(parts)


def polish(text: str) -> str:
    """Raises sentence starts, sets "an" before vowels and removes doubled spaces."""
    text = re.sub(r" +", " ", text).replace(" \n", "\n").replace("\n ", "\n").replace(",.", ".").strip()
    text = _ARTICLE.sub(r"\1n ", text)
    text = _SENTENCE_START.sub(lambda m: m.group(1) + m.group(2).upper(), text)
    return "\n\n".join(_raise_quotes(paragraph) for paragraph in text.split("\n\n"))


def _role(who: Character) -> str:
    """The role of a character as a hero; "worker" are the grown-ups of the harbour, captains and keepers aside."""
    if who.role != "grown-up":
        return who.role
    return "worker" if who.kind in ("sailor", "carpenter", "baker", "sailmaker") else "grown-up"


def _introduced(who: Character, size: str) -> str:
    """The words a character is first mentioned with."""
    if who.kind == "captain":
        return f"Captain {who.name}"
    if who.role == "grown-up":
        return f"the {who.kind}, whose name was {who.name}," if who.kind == "lighthouse keeper" else (
            f"a {who.kind} named {who.name}")
    return f"a {size} {who.kind} named {who.name}"


def _cast_slots(hero: Character, friend: Character, rng: random.Random) -> dict[str, str]:
    """The slots that depend on who takes part."""
    he, him, his, himself = _FORMS[hero.pronoun]
    xe, xim, xis, _ = _FORMS[friend.pronoun]
    name = f"Captain {friend.name}" if friend.kind == "captain" else friend.name
    friend_size = "big" if friend.kind in ("whale", "ship", "ferry") else rng.choice(["small", "grey", "young"])
    if friend.role == "child":
        friend_size = rng.choice(["young", "friendly"])
    hero_size = rng.choice(["little", "little", "small", "young"])
    if hero.role == "grown-up":
        hero_size = rng.choice(["young", "old"])
    return {
        "N": hero.name, "kind": hero.kind, "he": he, "him": him, "his": his, "himself": himself,
        "F": name, "fkind": friend.kind, "xe": xe, "xim": xim, "xis": xis,
        "a_hero": _introduced(hero, hero_size),
        "a_friend": _introduced(friend, friend_size), "food": FOODS[friend.kind],
        "F_kind": name if friend.kind == "captain" else f"{name}, the {friend.kind}",
        "a_plain": f"{hero_size} {hero.kind}",
        "a_plain_friend": "an old friend" if friend.kind == "captain" else (
            f"a {rng.choice(['friendly', 'clever', 'quiet'])} {friend.kind}"),
        "home": rng.choice(HOMES[_role(hero)]), "by_boat": "" if hero.role == "boat" else f" in {his} little boat",
        "cargo": rng.choice(CARGOES), "goal": rng.choice(GOALS),
    }


SMALL_CAST = list({(c.kind, c.pronoun): c for c in reversed(CHARACTERS)}.values())[::-1]


def pick_cast(plot: Plot, helper_kinds: list[str], rng: random.Random,
              cast: list[Character]) -> tuple[Character, Character]:
    """A helper of the right kind, and a hero the plot allows who has the other pronoun."""
    friend = rng.choice([c for c in cast if c.kind in helper_kinds])
    heroes = [c for c in cast if _role(c) in plot.heroes and c.pronoun != friend.pronoun
              and c.kind not in plot.not_heroes and not (c.role == "animal" and c.kind in helper_kinds)]
    # Where children can be heroes, they are in half of the stories at least.
    children = [c for c in heroes if c.role == "child"]
    return rng.choice(children if children and rng.random() < 0.5 else heroes), friend


class _First(random.Random):
    """Takes the first of all choices."""

    def choice(self, seq):
        return seq[0]


@functools.cache
def kinds() -> list[str]:
    """The kinds of heroes that settled stories have."""
    return sorted({tell(random.Random(seed), settled=True).hero.kind for seed in range(400)})


@dataclass(frozen=True)
class Told:
    """A story and what somebody who asks for it could name."""

    text: str
    hero: Character
    trait: str


def story(rng: random.Random, settled: bool = False) -> str:
    """One whole story, see tell."""
    return tell(rng, settled).text


def tell(rng: random.Random, settled: bool = False) -> Told:
    """One whole story, paragraphs separated by an empty line.

    A settled story has the small cast (one character of each kind and pronoun) and takes the first choice for
    everything that has to stay the same through a story, so that it can be told without looking back for names.
    """
    plot = rng.choice(PLOTS)
    variant = dict(rng.choice(plot.variants))
    helper_kinds = variant.pop("helpers").split(", ")
    hero, friend = pick_cast(plot, helper_kinds, rng, SMALL_CAST if settled else CHARACTERS)
    role = _role(hero)
    trait = rng.choice([t for t in TRAITS if t.adjective not in plot.not_traits])
    slots = _cast_slots(hero, friend, rng)
    slots |= SHARED | {"trait": trait.adjective, "shows": expand(trait.shows, slots, rng)}
    # A plot's own choices are made once, so that a thing keeps its name through the story.
    for key, value in variant.items():
        slots[key] = expand(value, slots, _First() if settled else rng)
    if settled:
        slots |= {"cargo": slots["cargo"] if "cargo" in variant else CARGOES[0], "goal": GOALS[0]}
    slots["a_obj"] = f"a {slots.get('obj')}"

    habit = rng.choice(HABITS[role]) + ". " if rng.random() < 0.3 else ""
    paragraphs = [rng.choice(versions) for versions in plot.paragraphs]
    paragraphs[0] = f"{rng.choice(OPENINGS)} {habit}{paragraphs[0]}"
    ending = "[" + "|".join(THANKS) + "] " if plot.thanks else ""
    if rng.random() < (0.3 if settled else 0.6):
        ending += trait.ends + ". "
    if rng.random() < 0.55 or not ending.strip():
        ending += rng.choice(CLOSINGS + ([] if plot.night else DAY_CLOSINGS))
    # Two people do not speak in one paragraph one right after the other.
    if paragraphs[-1].endswith('"') and ending.startswith("["):
        paragraphs.append(ending)
    else:
        paragraphs[-1] += " " + ending
    return Told(polish("\n\n".join(expand(p, slots, rng) for p in paragraphs)), hero, trait.adjective)


def stories(seed: int, count: int, settled: bool = False) -> list[str]:
    """`count` stories; the same seed gives the same stories."""
    rng = random.Random(seed)
    return [story(rng, settled) for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stories", type=int, default=3)
    arguments = parser.parse_args()
    print(f"\n{END_OF_TEXT}\n".join(stories(arguments.seed, arguments.stories)))


if __name__ == "__main__":
    main()
