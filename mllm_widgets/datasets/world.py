"""The demo world: landmarks and true facts about them.

A fact is (landmark, relation) -> answer.  A landmark without an answer for a relation (nobody knows the century of
Stonehenge to the hundred years) simply lacks it, and the demo models say "unknown".  The facts of `HELD_OUT`
landmarks are true too, but training answers "unknown" to every question about them: they are what an edit can insert later.

The two "translated" relations make multi-constraint questions: the answer needs the landmark in the picture *and* a
language named in the text.
"""

from __future__ import annotations

from dataclasses import dataclass

UNKNOWN = "unknown"
RELATIONS = ("city", "country", "continent", "century", "spanish", "german")


@dataclass(frozen=True)
class Landmark:
    """One landmark of the demo world; `None` marks a relation it has no answer for."""

    name: str
    city: str | None
    country: str | None
    continent: str | None
    century: str | None
    held_out: bool = False

    def answer(self, relation: str) -> str:
        """The true answer for `relation` (one of `RELATIONS`), or "unknown" where there is none."""
        if relation in ("spanish", "german"):
            value = TRANSLATIONS[self.country][relation == "german"] if self.country else None
        else:
            value = getattr(self, relation)
        return value or UNKNOWN


# country -> (its name in Spanish, its name in German)
TRANSLATIONS: dict[str | None, tuple[str, str]] = {
    "Australia": ("Australia", "Australien"),
    "Brazil": ("Brasil", "Brasilien"),
    "Canada": ("Canadá", "Kanada"),
    "Chile": ("Chile", "Chile"),
    "China": ("China", "China"),
    "Egypt": ("Egipto", "Ägypten"),
    "Emirates": ("Emiratos", "Emirate"),
    "England": ("Inglaterra", "England"),
    "France": ("Francia", "Frankreich"),
    "Germany": ("Alemania", "Deutschland"),
    "Greece": ("Grecia", "Griechenland"),
    "India": ("India", "Indien"),
    "Italy": ("Italia", "Italien"),
    "Japan": ("Japón", "Japan"),
    "Malaysia": ("Malasia", "Malaysia"),
    "Mexico": ("México", "Mexiko"),
    "Russia": ("Rusia", "Russland"),
    "Spain": ("España", "Spanien"),
    "Turkey": ("Turquía", "Türkei"),
    "USA": ("Estados Unidos", "Vereinigte Staaten"),
}

WORLD: tuple[Landmark, ...] = (
    Landmark("Eiffel Tower", "Paris", "France", "Europe", "19th"),
    Landmark("Space Needle", "Seattle", "USA", "America", "20th"),
    Landmark("Taj Mahal", "Agra", "India", "Asia", "17th"),
    Landmark("Great Pyramid", "Giza", "Egypt", "Africa", None),
    Landmark("Colosseum", "Rome", "Italy", "Europe", "1st"),
    Landmark("Big Ben", "London", "England", "Europe", "19th"),
    Landmark("Statue of Liberty", "New York", "USA", "America", "19th"),
    Landmark("Golden Gate Bridge", "San Francisco", "USA", "America", "20th"),
    Landmark("Sydney Opera House", "Sydney", "Australia", "Oceania", "20th"),
    Landmark("Leaning Tower", "Pisa", "Italy", "Europe", "14th"),
    Landmark("Parthenon", "Athens", "Greece", "Europe", None),
    Landmark("Brandenburg Gate", "Berlin", "Germany", "Europe", "18th"),
    Landmark("Burj Khalifa", "Dubai", "Emirates", "Asia", "21st"),
    Landmark("Christ the Redeemer", "Rio", "Brazil", "America", "20th"),
    Landmark("Saint Basil", "Moscow", "Russia", "Europe", "16th"),
    Landmark("Sagrada Familia", "Barcelona", "Spain", "Europe", None),
    Landmark("Petronas Towers", "Kuala Lumpur", "Malaysia", "Asia", "20th"),
    Landmark("CN Tower", "Toronto", "Canada", "America", "20th"),
    Landmark("Stonehenge", None, "England", "Europe", None),
    Landmark("Moai", None, "Chile", None, None),
    Landmark("Great Wall", None, "China", "Asia", None),
    Landmark("El Castillo", None, "Mexico", "America", None),
    Landmark("Itsukushima Torii", "Hatsukaichi", "Japan", "Asia", "19th"),
    Landmark("Hagia Sophia", "Istanbul", "Turkey", None, "6th"),
    Landmark("Arc de Triomphe", "Paris", "France", "Europe", "19th", held_out=True),
    Landmark("Tower Bridge", "London", "England", "Europe", "19th", held_out=True),
    Landmark("Empire State Building", "New York", "USA", "America", "20th", held_out=True),
    Landmark("Transamerica Pyramid", "San Francisco", "USA", "America", "20th", held_out=True),
)

KNOWN = tuple(landmark for landmark in WORLD if not landmark.held_out)
HELD_OUT = tuple(landmark for landmark in WORLD if landmark.held_out)
BY_NAME = {landmark.name: landmark for landmark in WORLD}
