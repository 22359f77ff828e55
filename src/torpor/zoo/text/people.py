"""The task of the zoo's classifiers of texts: how many people a caption tells of, none, one, two, or three and more."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from typing_extensions import override

from torpor.data.sets import DataSet

MOST = 3
"""People beyond which a caption is of the same class."""
CLASSES = MOST + 1

_ONE = (
    "acrobat adult artist athlete baby ballerina batter bicyclist biker boxer boy boyfriend bride brother businessman "
    "catcher chef child clown cook cowboy cyclist dancer daughter drummer farmer father female firefighter fireman "
    "fisherman friend gentleman girl girlfriend goalie golfer groom guitarist guy gymnast hiker hunter husband jogger "
    "kid lady lifeguard male man model monk mother motorcyclist musician nun officer painter pedestrian performer "
    "person photographer pitcher player policeman priest quarterback referee rider runner shopper singer sister "
    "skateboarder skater skier snowboarder soldier someone son speaker student surfer swimmer teacher teenager toddler "
    "vendor waiter waitress walker wife woman worker wrestler"
)
_SEVERAL = (
    "adults artists athletes boys chefs children crowd cyclists dancers family firefighters firemen fishermen friends "
    "gentlemen girls guys gymnasts hikers kids ladies males females men musicians officers pedestrians people "
    "performers persons players policemen riders runners singers skateboarders skiers snowboarders soldiers students "
    "surfers swimmers teachers team teenagers toddlers vendors women workers wrestlers youths"
)
ONE, SEVERAL = frozenset(_ONE.split()), frozenset(_SEVERAL.split())
NUMBERS = {"both": 2, "couple": 2, "two": 2, "2": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8}
_APART = "and in on at with by near while as is are to from for or the a an"
APART = frozenset(_APART.split())
"""Words after which a number no longer belongs to the noun that comes."""


def people(text: str) -> int:
    """Return how many people a caption tells of, by its nouns: up to :data:`MOST`.

    A noun in the plural is of as many as the number before it says, else of more than two. Nobody is told apart: a
    person who is named twice counts twice.

    >>> [people(text) for text in ("Two young, white males outside.", "A man and his dog.", "People sit.", "A dog.")]
    [2, 1, 3, 0]
    """
    total, number = 0, MOST
    for word in re.findall(r"[a-z0-9]+", text.lower()):
        if word in NUMBERS:
            number = NUMBERS[word]
            continue
        if word in ONE or word in SEVERAL:
            total += 1 if word in ONE else number
        if word in ONE or word in SEVERAL or word in APART:
            number = MOST
    return min(total, MOST)


class PeopleInCaptions(DataSet):
    """Captions and how many people each tells of.

    Args:
        captions: texts; their references are ignored.
    """

    def __init__(self, captions: DataSet) -> None:
        self.captions, self.name = captions, f"{captions.name}-people"

    def fingerprint(self) -> str:
        """Return that of the captions, with the task's name."""
        return f"{self.captions.fingerprint()} people"

    @override
    def files(self) -> Mapping[str, Path]:
        return self.captions.files()

    def samples(self, split: str) -> Iterator[tuple[str, int]]:
        """Yield ``(caption, number of people)``."""
        for text, _ in self.captions.samples(split):
            yield text, people(text)
