"""Who and what the stories are about: characters, their traits, the places they live in and the foods they like.

Every name belongs to one character for the whole corpus (Pip is always a gull and always "he"), so that a small model
can learn who is who. Text in square brackets is a choice, `[one|two]`; text in braces is a slot, see corpus.py.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Character:
    """One figure of the little world."""

    name: str
    kind: str  # "girl", "gull", "boat", ...
    pronoun: str  # "she" or "he"
    role: str  # "child", "animal", "boat" or "grown-up"


def _cast(role: str, pronoun: str, names_by_kind: dict[str, str]) -> list[Character]:
    """Expands {"gull": "Pip Jonah"} into characters."""
    return [
        Character(name, kind, pronoun, role) for kind, names in names_by_kind.items() for name in names.split()
    ]


CHARACTERS: list[Character] = [
    *_cast("child", "she", {"girl": "Mara Nora Lina Ida Ella Ruby Anna Rosa"}),
    *_cast("child", "he", {"boy": "Tom Ben Finn Oscar Sam Jonas Leo Max"}),
    *_cast("animal", "she", {"gull": "Kira", "seal": "Selma", "crab": "Coral", "whale": "Wilma", "otter": "Lotte",
                             "dog": "Daisy", "cat": "Tilly", "mouse": "Mimi", "duck": "Dora", "turtle": "Tessa"}),
    *_cast("animal", "he", {"gull": "Pip", "seal": "Bobo", "crab": "Klaus", "whale": "Bruno", "otter": "Ollie",
                            "dog": "Biscuit", "cat": "Tiger", "mouse": "Milo", "duck": "Dan", "turtle": "Theo"}),
    *_cast("boat", "she", {"boat": "Bluebell Swallow", "ship": "Marigold", "ferry": "Heron"}),
    *_cast("boat", "he", {"boat": "Rufus Button", "ship": "Falcon", "tugboat": "Hector"}),
    *_cast("grown-up", "she", {"captain": "Brandt", "sailor": "Greta", "carpenter": "Petra", "baker": "Emma",
                               "lighthouse keeper": "Agnes", "sailmaker": "Clara"}),
    *_cast("grown-up", "he", {"captain": "Hale", "sailor": "Piet", "carpenter": "Hugo", "baker": "Otto",
                              "lighthouse keeper": "Walter", "sailmaker": "Simon"}),
]

# What a helper likes to get as thanks.
FOODS: dict[str, str] = {
    "gull": "a piece of bread", "seal": "a fresh fish", "crab": "a sweet berry", "whale": "a basket of fish",
    "otter": "a shiny shell", "dog": "a big bone", "cat": "a bowl of milk", "mouse": "a piece of cheese",
    "duck": "a handful of corn", "turtle": "a green leaf", "girl": "a honey cake", "boy": "a honey cake",
    "captain": "a cup of hot tea", "sailor": "a bowl of soup", "carpenter": "a warm loaf of bread",
    "baker": "a basket of apples", "lighthouse keeper": "a pot of jam", "sailmaker": "a basket of plums",
    "boat": "a new flag", "ship": "a new flag", "ferry": "a new flag", "tugboat": "a new flag",
}

# Where a hero lives, by role.
HOMES: dict[str, list[str]] = {
    "child": ["by the sea", "in a small harbour", "on a green island", "in a village near the cliffs",
              "next to an old lighthouse", "at the mouth of a wide river", "in a white house above the bay",
              "in a blue house by the harbour"],
    "animal": ["by the sea", "under the old pier", "among the rocks of the bay", "on a green island",
               "next to an old lighthouse", "near a small harbour"],
    "worker": ["by the sea", "in a small harbour", "in a little house by the harbour", "in a village near the cliffs"],
    "boat": ["in a small harbour", "in a quiet bay", "next to an old lighthouse", "on a wide river"],
}

# Small details that make one hero differ from another, by role.
HABITS: dict[str, list[str]] = {
    "child": ["{he} knew the name of every boat in the harbour",
              "from {his} window {he} could see the ships come and go",
              "{his} father was a fisherman, and {his} mother mended the nets",
              "in the evening {his} grandfather often told {him} stories of the sea",
              "{his} pockets were always full of [shells|string|small stones]"],
    "animal": ["{he} liked the smell of salt and old rope", "every morning {he} washed in the cold water",
               "{he} knew all the fishermen, and they all knew {him}", "{his} bed was an old [hat|basket|coat]"],
    "worker": ["{he} knew the name of every boat in the harbour", "all the children of the harbour knew {him}",
               "{his} hands were strong, and {his} eyes were friendly"],
    "boat": ["{his} sides were painted [red|green|blue], and {his} flag was white",
             "{he} was not big, but {he} was [strong|quick]", "{he} knew every rock and every island of the coast"],
}
CARGOES: list[str] = ["apples", "letters", "bread", "blankets", "potatoes", "books", "oranges"]
GOALS: list[str] = ["the next village", "the small island", "the white village", "the old town"]


@dataclass(frozen=True)
class Trait:
    """A lasting quality: how it shows at the start of a story and how it is remembered at the end."""

    adjective: str
    shows: str
    ends: str


TRAITS: list[Trait] = [
    Trait("curious", "{he} asked questions [all day long|from morning until night]",
          "[{N} was still curious, and {he} had many new questions to ask|and of course {N} had a hundred new "
          "questions]"),
    Trait("curious", "{he} looked [under every stone|into every corner]",
          "{N} was still curious, but now {he} [had a friend to be curious with|knew whom to ask]"),
    Trait("brave", "{he} was not afraid of [the dark|the wind|deep water]",
          "[everyone in the harbour said that {N} was the bravest {kind} of all|{N} was brave, and now everyone "
          "knew it]"),
    Trait("shy", "{he} did not like to talk to strangers",
          "{N} was still a little shy, but [never with {F}|not when {F} was near]"),
    Trait("shy", "{he} [spoke very little|often hid when someone came]",
          "{N} was not so shy any more, because {he} had a friend"),
    Trait("impatient", "{he} did not like to wait",
          "{N} was still [|a little ]impatient and could hardly wait for the next [day|morning]"),
    Trait("kind", "{he} shared everything {he} had",
          "[{N} was kind to everyone, and everyone was kind to {him}|and because {N} was kind, {he} always had "
          "many friends]"),
    Trait("forgetful", "{he} forgot something every day",
          "{N} still forgot many things, but {he} never forgot [that day|what {F} had done]"),
    Trait("cheerful", "{he} [sang|laughed] from morning until night",
          "[after that, {N} was even more cheerful than before|{N} was the most cheerful {kind} in the harbour]"),
    Trait("proud", "{he} never asked anyone for help",
          "{N} had learned that [it is good to ask for help|everyone needs a friend sometimes]"),
    Trait("careful", "{he} always looked twice before {he} did anything",
          "{N} was still careful, and {his} friends were glad about it"),
    Trait("dreamy", "{he} liked to look at the [clouds|waves] for hours",
          "{N} still liked to dream, and now {he} dreamed of [the wide sea|a big white ship|sailing around the world]"),
]
