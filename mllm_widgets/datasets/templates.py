"""How questions of the demo world are worded.

`{c}` is the visual constraint (or, in questions that name the landmark, its name).  The constraint stands at the
start, in the middle and at the end.  `HELD_OUT_TEMPLATES` are never used in training, so accuracy on them measures
paraphrase generalisation.
"""

from __future__ import annotations

CONSTRAINTS = (
    "this building",
    "this landmark",
    "this place",
    "this monument",
    "this structure",
    "this sight",
    "this famous landmark",
    "this famous place",
    "the landmark in this picture",
)

# Subjects that are no landmark at all: the demo models answer "unknown" for them.
STRANGERS = (
    "Paris City",
    "green apple",
    "my friend",
    "old car",
    "blue chair",
    "some stranger",
    "black cat",
    "nobody",
)

TEMPLATES: dict[str, tuple[str, ...]] = {
    "city": (
        "Which city is {c} in?",
        "In which city is {c}?",
        "{c} is in which city?",
        "What city is {c} located in?",
        "In what city can you find {c}?",
        "The city of {c} is called what?",
        "Name the city of {c}.",
        "To see {c}, which city do you visit?",
        "Tell me which city has {c}.",
    ),
    "country": (
        "Which country is {c} in?",
        "In which country is {c}?",
        "{c} is in which country?",
        "What country is {c} located in?",
        "In what country can you find {c}?",
        "The country of {c} is called what?",
        "Name the country of {c}.",
        "To see {c}, which country do you visit?",
        "Tell me which country has {c}.",
    ),
    "continent": (
        "Which continent is {c} in?",
        "On which continent is {c}?",
        "{c} is on which continent?",
        "What continent is {c} located on?",
        "On what continent can you find {c}?",
        "The continent of {c} is called what?",
        "Name the continent of {c}.",
        "To see {c}, which continent do you visit?",
    ),
    "century": (
        "In which century was {c} completed?",
        "In what century was {c} built?",
        "{c} was built in which century?",
        "Which century is {c} from?",
        "Name the century in which {c} was built.",
        "The century of {c} is which one?",
        "Tell me the century of {c}.",
    ),
}

HELD_OUT_TEMPLATES: dict[str, tuple[str, ...]] = {
    "city": ("What is the city of {c}?", "Which city can you visit to see {c}?"),
    "country": ("What is the country of {c}?", "Which country can you visit to see {c}?"),
    "continent": ("What is the continent of {c}?", "Tell me which continent has {c}."),
    "century": ("What is the century of {c}?", "Which century was {c} built in?"),
}

_TRANSLATED = (
    "What is the {language} name of the country of {c}?",
    "In {language}, what is the country of {c} called?",
    "{c} is in which country, in {language}?",
    "Name in {language} the country of {c}.",
    "How is the country of {c} called in {language}?",
    "Say in {language} which country has {c}.",
)
_TRANSLATED_HELD_OUT = (
    "In {language}, which country is {c} in?",
    "What is the country of {c} called in {language}?",
)
LANGUAGES = {"spanish": "Spanish", "german": "German"}
for _relation, _language in LANGUAGES.items():
    TEMPLATES[_relation] = tuple(t.replace("{language}", _language) for t in _TRANSLATED)
    HELD_OUT_TEMPLATES[_relation] = tuple(t.replace("{language}", _language) for t in _TRANSLATED_HELD_OUT)

# Sentences that may stand before a question and change nothing.
FILLERS = (
    "I am on a trip with my friends.",
    "We took many pictures and we like this one best.",
    "Please look at the picture.",
    "My sister sent me this picture from her trip.",
    "Here is a quick question for you.",
    "Think about what you can see here and then give a short answer.",
    "The weather was fine and we walked all day.",
    "One more question, please.",
)


def fill(template: str, constraint: str) -> str:
    """Put `constraint` into `template`, with a capital letter where it opens the question."""
    if template.startswith("{c}"):
        constraint = constraint[0].upper() + constraint[1:]
    return template.replace("{c}", constraint)
