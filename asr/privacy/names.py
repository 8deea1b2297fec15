"""Names of people: after what announces them ("je m'appelle", "my name is", "Madame"), and first names by a list."""

from __future__ import annotations

from collections.abc import Sequence

from asr.privacy.spans import Span, Word, bag, over
from asr.privacy.vocabulary import NO_NAMES, STOP_WORDS, STREETS, first_names, last_names, plain_first_names

# Sure: a name follows. Asked for as they are cut into words, without their apostrophes.
_ANNOUNCED = {
    "fr": (
        "m appelle", "s appelle", "m appellent", "mon nom est", "mon nom c est", "mon nom de famille est", "prénom est",
        "prénom c est", "nom de famille c est", "moi c est", "moé c est", "au nom de", "s appellent", "nommé", "nommée",
    ),
    "en": (
        "name is", "name s", "names", "i m called", "is called", "am called", "are called", "they call me", "known as",
        "myself", "holder", "name was",
    ),
}  # fmt: skip
# A name may follow, if the word is one.
_SUGGESTED = {
    "fr": (
        "c est", "je suis", "chuis", "chu", "j suis", "ici", "appelez moi", "appelle moi", "m appeler", "voici",
        "parler à", "demande à", "demandez", "appelez", "appelle", "pour", "avec", "chez", "à",
    ),
    "en": (
        "i am", "i m", "this is", "it s", "call me", "it is", "tis", "speak to", "speaking to", "talk to", "ask",
        "ask for", "here is", "meet", "calling for", "with", "for", "to",
    ),
}  # fmt: skip
_RELATIVES = {
    "fr": bag(
        """
sœur soeur frère mère père mari femme fils fille cousin cousine copain copine collègue voisin voisine ami amie
oncle tante tonton tata mamie papi belle-sœur beau-frère neveu nièce patron patronne
"""
    ),
    "en": bag(
        """
sister brother brither mother father husband wife son daughter cousin friend colleague neighbour neighbor uncle
aunt auntie boyfriend girlfriend partner nephew niece boss mate granny
"""
    ),
}
TITLES = {
    "fr": bag(
        """
monsieur madame mademoiselle mme mlle mr docteur dr maître maitre professeur sœur
"""
    ),
    "en": bag("mr mrs ms miss mister missus doctor dr professor sir reverend"),
}
# Said after the name.
_FOLLOWED = {"fr": ("à l appareil",), "en": ("speaking", "here", "on the line", "calling")}
_PARTICLES = frozenset(
    {
        "de",
        "du",
        "des",
        "la",
        "le",
        "van",
        "von",
        "den",
        "der",
        "el",
        "al",
        "ben",
        "bin",
        "d",
        "l",
        "o",
        "n",
        "mac",
        "mc",
    }
)
# Before these, who speaks or is called says a name, and maybe a last name that no list has.
_SELF = {
    "fr": ("c est", "je suis", "chuis", "j suis", "m appelle", "nom est", "moi c est", "nom c est"),
    "en": ("i am", "i m", "this is", "it s", "name is", "name s", "myself"),
}
_LONGEST = 5
_ANNOUNCED_SCORE, _LISTED_SCORE = 0.85, 0.6
_FAMILY = frozenset({"mac", "mc", "o", "ben", "van", "von", "le", "el", "al"})


def names(words: Sequence[Word], language: str, spelled: Sequence[Span] = ()) -> list[Span]:
    """Find names of people.

    Args:
        words: The words of a text.
        language: ``fr`` or ``en``.
        spelled: What is spelled in the text: the name stands before it.
    """
    finder = _Finder(words, language, spelled)
    found: list[Span] = []
    place = 0
    while place < len(words):
        span = finder.at(place)
        if span is None:
            place += 1
            continue
        first, last, score = span
        found.append(over(words, first, last, "NAME", score))
        place = last
    return found


def _phrases(written: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(phrase.split()) for phrase in written)


class _Finder:
    """The names of one text.

    Args:
        words: The text.
        language: One of `asr.privacy.spans.LANGUAGES`.
        spelled: As in `names`.
    """

    def __init__(self, words: Sequence[Word], language: str, spelled: Sequence[Span]) -> None:
        self.words = words
        self.language = language
        # In a text without capitals every word has to do without them; the first word has one anyway.
        self.cased = any(word.upper and not word.letter for word in words[1:]) or any(
            word.hard or word.soft for word in words
        )
        self.announced = _phrases(_ANNOUNCED[language])
        self.suggested = _phrases(_SUGGESTED[language])
        self.itself = _phrases(_SELF[language])
        self.followed = _phrases(_FOLLOWED[language])
        self.first_names = first_names(language)
        self.plain = plain_first_names(language)
        self.last_names = last_names(language)
        places = {word.start: place for place, word in enumerate(words)}
        self.spelled = {self.nearest_name(places[span.start]) for span in spelled}

    def at(self, place: int) -> tuple[int, int, float] | None:
        """Return the first word, the word after the last, and the score of a name that begins at a word."""
        word = self.words[place]
        elided = word.upper and word.letter and place + 1 < len(self.words) and self.words[place + 1].gap == "'"
        if elided and not self.words[place + 1].upper:
            return None
        if (
            (word.key in STOP_WORDS[self.language] and not elided)
            or not word.key.isalpha()
            or word.key in STREETS[self.language]
        ):
            return None
        score = self.score(place, word)
        if score is None:
            return None
        last = self.end(place)
        if last < len(self.words) and self.words[last].key in STREETS[self.language] and not self.words[last].soft:
            return None  # "Oxford Street"
        if score < _ANNOUNCED_SCORE and self.in_street_name(place):
            return None
        return place, last, score

    def score(self, place: int, word: Word) -> float | None:
        """Return how sure it is that a name begins at a word; None if it is not."""
        announced = self.after(place, self.announced) or self.after_title(place) or self.after_relative(place)
        if announced or place in self.spelled:
            named = word.upper or not self.cased or word.key in self.first_names
            return _ANNOUNCED_SCORE if named else None
        listed = word.key in self.plain
        if word.upper:
            named = listed or (word.key in self.first_names and self.after(place, self.suggested))
            # Any word with a capital in mid-sentence, if "speaking" comes after it.
            named = named or (place > 0 and word.key not in NO_NAMES and self.is_followed(self.end(place)))
        else:
            named = not self.cased and listed
            named = named and (
                place == 0
                or self.after(place, self.suggested)
                or self.named_before_surname(place)
                or self.is_followed(self.end(place))
            )
        return _LISTED_SCORE if named else None

    def nearest_name(self, place: int) -> int | None:
        """Return the word with a capital that stands before a word, such as a name before its letters."""
        for back in range(place - 1, max(-1, place - 1 - _LONGEST), -1):
            word = self.words[back]
            named = word.upper or (not self.cased and word.key[0] == self.words[place].key[0])
            if named and not word.letter and word.key not in STOP_WORDS[self.language]:
                for before in range(back - 1, max(-1, back - _LONGEST), -1):
                    other = self.words[before]
                    if not other.upper or self.words[before + 1].soft or other.key in STOP_WORDS[self.language]:
                        break
                    back = before
                return back
        return None

    def after(self, place: int, phrases: Sequence[tuple[str, ...]]) -> bool:
        """Whether one of some phrases stands right before a word, in its sentence."""
        if place and self.words[place].hard:
            return False
        for phrase in phrases:
            first = place - len(phrase)
            if first >= 0 and all(self.words[first + offset].key == key for offset, key in enumerate(phrase)):
                return True
        return False

    def after_title(self, place: int) -> bool:
        """Whether a title stands before a word; the point of "Mr." ends no sentence."""
        before = self.words[place - 1] if place else None
        if before is None or before.key not in TITLES[self.language]:
            return False
        return self.words[place].gap.strip() in ("", ".")

    def after_relative(self, place: int) -> bool:
        """Whether it is said whose sister this is."""
        return place > 0 and self.words[place - 1].key in _RELATIVES[self.language] and not self.words[place].hard

    def is_followed(self, last: int) -> bool:
        """Whether what follows says that this was a name."""
        keys = tuple(word.key for word in self.words[last : last + 3])
        return any(keys[: len(phrase)] == phrase for phrase in self.followed)

    def named_before_surname(self, place: int) -> bool:
        """Whether a last name follows at once."""
        after = self.words[place + 1] if place + 1 < len(self.words) else None
        return after is not None and after.key in self.last_names and after.gap == " "

    def in_street_name(self, place: int) -> bool:
        """Whether the word belongs to "la rue Victor Hugo"."""
        for back in range(place - 1, max(-1, place - 4), -1):
            if self.words[back + 1].soft:
                return False
            if self.words[back].key in STREETS["fr"] and self.language == "fr":
                return True
        return False

    def end(self, place: int) -> int:
        """Return the word after a name that begins at a word."""
        last = place + 1
        while last < len(self.words) and last - place < _LONGEST:
            word = self.words[last]
            if word.soft or word.hard or not (word.gap in (" ", "-", "'") or word.gap == "\u2011"):
                break
            ahead = last
            while ahead < len(self.words) - 1 and self.words[ahead].key in _PARTICLES and ahead - last < 2:
                ahead += 1
            joined = word.gap == "-" or self.words[last - 1].key in _FAMILY or (ahead > last and word.key in _FAMILY)
            if self.words[ahead].soft or not self.continues(ahead, joined, last == place + 1):
                break
            last = ahead + 1
        return last

    def continues(self, place: int, joined: bool, second: bool) -> bool:
        """Whether a word goes on with a name."""
        word = self.words[place]
        if not word.key.isalpha() or (word.key in STOP_WORDS[self.language] and not joined):
            return False
        if self.cased:
            return word.upper
        if joined or word.key in self.last_names or word.key in self.first_names:
            return True
        # "i am claire bennett from …": a last name that no list has, between a first name and a word that ends it.
        after = self.words[place + 1].key if place + 1 < len(self.words) else None
        ends = after is None or after in STOP_WORDS[self.language]
        return second and ends and len(word.key) > 3 and self.after(place - 1, self.itself)
