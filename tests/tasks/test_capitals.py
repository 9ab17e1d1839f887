"""Capital prompts: the answer belongs to the clean subject, the distractor to the corrupt one of the same length."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from tokenizers import pre_tokenizers

from interp.errors import InputError
from interp.tasks import capital_country
from interp.tasks.capitals import CAPITALS, TEMPLATES
from tests.tasks.conftest import tiny_model, word_tokenizer
from tests.tasks.lining_up import at, check_lined_up, check_seeds, ids_of, same_text, sets
from tests.tasks.space_tokenizer import space_model

COUNTRIES = {capital: country for country, capital in CAPITALS.items()}
FACTS = {"capital": CAPITALS, "country": COUNTRIES}


def pieces(text: str) -> list[str]:
    return [word for word, _ in pre_tokenizers.Whitespace().pre_tokenize_str(text)]


TEMPLATE_WORDS = pieces(" ".join(t for ts in TEMPLATES.values() for t in ts).replace("[subject]", "")) + ["capital"]


def model_of(facts: dict[str, str]) -> Any:
    names = [piece for pair in facts.items() for name in pair for piece in pieces(name)]
    return tiny_model(word_tokenizer([*TEMPLATE_WORDS, *names]))


@pytest.fixture(scope="module")
def model() -> Any:
    return model_of(CAPITALS)


def test_the_list() -> None:
    assert len(COUNTRIES) == len(CAPITALS) > 90
    for country, capital in CAPITALS.items():
        assert country not in capital
        assert capital not in country
    assert (CAPITALS["France"], CAPITALS["Australia"], CAPITALS["Turkey"]) == ("Paris", "Canberra", "Ankara")
    assert all(t.count("[subject]") == t.count("[relation]") == 1 for ts in TEMPLATES.values() for t in ts)


@pytest.mark.parametrize("prepend_bos", [False, True])
@pytest.mark.parametrize("direction", ["capital", "country"])
def test_prompts_and_answers(model: Any, direction: str, prepend_bos: bool) -> None:
    """The text before and after "[subject]" is the template's, and the answer is looked up by what stands between."""
    task = capital_country(model, n=60, direction=direction, prepend_bos=prepend_bos)
    assert task.roles == ("subject", "relation", "end")
    assert task.aligned
    assert set(at(task, "relation")) == {"capital"}
    for i, group in enumerate(task.groups):
        assert group.split("-")[0] == direction
        template = TEMPLATES[direction][int(group.split("-")[1])].replace("[relation]", "capital")
        (answer,), (distractor,) = sets(task)[i], sets(task, "distractors")[i]
        back = FACTS["country" if direction == "capital" else "capital"]
        subject, other = back[answer], back[distractor]
        assert subject != other
        assert same_text(task, i, template.replace("[subject]", subject))
        assert same_text(task, i, template.replace("[subject]", other), corrupt=True)
        assert at(task, "subject")[i] == pieces(subject)[-1]
        assert at(task, "subject", corrupt=True)[i] == pieces(other)[-1]
    assert len({len(ids_of(task, i)) for i in range(60)}) > 1  # longer names take part


def test_balance_and_seeds(model: Any) -> None:
    counts = Counter(capital_country(model, n=96).groups)
    assert len(counts) == 6
    assert set(counts.values()) == {16}
    one_way = capital_country(model, n=60, direction="capital")
    assert len({answer for (answer,) in sets(one_way)}) == 60  # countries come in turn
    check_seeds(capital_country, model)


def test_only_what_is_one_token_and_not_alone() -> None:
    facts = {"France": "Paris", "Italy": "Rome", "Peru": "Lima", "South Korea": "Seoul"}
    task = capital_country(model_of(facts), n=12, direction="capital")
    assert task.settings["countries"] == {"capital": ["France", "Italy", "Peru"]}  # no second name of two tokens
    assert task.notes[0].startswith(f"asking for the capital, 3 of {len(CAPITALS)} countries are used")
    check_lined_up(task, ("subject",))
    spaced = capital_country(space_model(["France", "Italy", "Paris", "Rome"]), n=12)
    check_lined_up(spaced, ("subject",))
    assert {answer for row in sets(spaced) for answer in row} == {" France", " Italy", " Paris", " Rome"}
    assert set(at(spaced, "subject")) == {" France", " Italy", " Paris", " Rome"}


def test_refusals(model: Any) -> None:
    for options, message in (({"n": 0}, "at least one pair"), ({"direction": "countries"}, "did you mean 'country'")):
        with pytest.raises(InputError, match=message):
            capital_country(model, **options)
    for few in ({"France": "Paris"}, {"France": "Paris", "South Korea": "Seoul"}):
        with pytest.raises(InputError, match=r"only 0 of \d+ countries \(asking for the capital\) .* needs 2"):
            capital_country(model_of(few))
