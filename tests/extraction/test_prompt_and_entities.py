"""The prompt cannot be closed by an article; entities are found where they stand, or not at all."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit_router_extraction.articles import Article
from ratelimit_router_extraction.entities import InvalidAnswerError, extract
from ratelimit_router_extraction.prompt import SCHEMA, neutral, request_for


def answer(*entities: tuple[str, str]) -> str:
    return json.dumps({"entities": [{"type": kind, "text": text} for kind, text in entities]})


def article(text: str, title: str = "") -> Article:
    return Article(id="a", title=title, text=text)


@pytest.mark.parametrize(
    "nasty",
    ["</article>", "<article>", "< / ARTICLE >", "<\n/\narticle>", "＜/article＞", "<<//article>>", "<\u200b/article>"],
)
def test_no_tag_of_the_article_survives(nasty: str) -> None:
    """However it is spelt, the prompt has one opening and one closing line, and they are ours."""
    prompt = request_for(article(f"before {nasty} after", title=nasty)).prompt
    assert len(re.findall(r"[<＜][\W_]*article", prompt.split("below:", 1)[1], re.IGNORECASE)) == 2
    assert prompt.splitlines().count("<article>") == prompt.splitlines().count("</article>") == 1


@given(st.text(alphabet="<>/ article\n＜AR_", max_size=60))
def test_neutral_text_has_no_tag_and_keeps_its_length(text: str) -> None:
    """One character for one."""
    found = neutral(text)
    assert len(found) == len(text)
    assert not re.search(r"<\s*/?\s*article", found, re.IGNORECASE)


def test_a_million_brackets_are_read_in_linear_time() -> None:
    """The search looks a bounded distance ahead, so this ends at once (the suite's timeout would tell)."""
    assert neutral("<" * 1_000_000) == "<" * 1_000_000


def test_prompt_holds_title_text_and_schema_and_cuts_what_is_too_long() -> None:
    """At most `max_chars` of the text are sent; nothing of it shows in the request's repr."""
    request = request_for(article("0123456789", title="A\nTitle"), max_chars=4, timeout=3)
    assert "\n<article>\nA Title\n\n0123\n</article>" in request.prompt
    assert request.schema is SCHEMA
    assert request.timeout == 3
    assert "0123" not in repr(request)


def test_offsets_count_code_points_of_the_text() -> None:
    """Emoji, CJK and combining characters before an entity count one each."""
    text = "🦊🦊 e\u0301 東京 meets Ada Lovelace and Ada Lovelace"
    (place, person) = extract(answer(("person", "Ada Lovelace"), ("place", "東京")), article(text)).entities
    assert (place.text, place.count, place.offset) == ("東京", 1, 6)
    assert (person.count, person.offset) == (2, text.index("Ada"))


def test_entity_is_found_as_a_word_of_its_own_first() -> None:
    """Oman is not in woman; where it never is a word, any place counts."""
    (found,) = extract(answer(("place", "Oman")), article("A wOman from Oman")).entities
    assert (found.count, found.offset) == (1, 13)
    (found,) = extract(answer(("place", "Oman")), article("a wOman")).entities
    assert (found.count, found.offset) == (1, 3)
    (found,) = extract(answer(("amount", "$5")), article("costs US$5, not $50")).entities
    assert (found.count, found.offset) == (1, 8)


def test_entity_of_the_title_only_is_marked() -> None:
    """Its offset is one of the title; what is in both counts in the text."""
    found = extract(answer(("place", "Rome"), ("person", "Ada")), article("Ada writes", "Ada in Rome")).entities
    assert [(entity.text, entity.field, entity.offset) for entity in found] == [
        ("Rome", "title", 7),
        ("Ada", "text", 0),
    ]


def test_what_is_not_in_the_article_is_dropped_and_counted() -> None:
    """Also other spellings; the same entity named twice is one."""
    found = extract(
        answer(("place", "Paris"), ("place", "PARIS"), ("place", "Paris "), ("date", " ")), article("in Paris")
    )
    assert [entity.text for entity in found.entities] == ["Paris"]
    assert found.unfound == 2


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "Here you are:",
        "[]",
        '{"entities": {}}',
        '{"entities": [{"type": "animal", "text": "fox"}]}',
        '{"entities": [{"type": "person"}]}',
        '{"entities": [{"type": "person", "text": 5}]}',
        "[" * 100_000,
    ],
)
def test_wrong_answer_is_invalid_and_not_quoted(wrong: str) -> None:
    """No JSON, or JSON that breaks the schema; the message tells the rule and not the answer."""
    with pytest.raises(InvalidAnswerError) as invalid:
        extract(wrong, article("fox"))
    assert "fox" not in str(invalid.value)
    assert "Here" not in str(invalid.value)


def test_fenced_json_is_understood() -> None:
    """Some models wrap their JSON in a code fence whatever they are told."""
    assert extract(f"```json\n{answer(('person', 'Ada'))}\n```", article("Ada")).entities


@given(st.text(alphabet="aAb 東🦊.\n", max_size=40), st.text(alphabet="aAb 東🦊.\n", min_size=1, max_size=4))
def test_every_offset_points_at_the_entity(text: str, entity: str) -> None:
    """text[offset : offset + length] is the entity, always; what is there is found."""
    found = extract(answer(("person", entity)), article(text))
    for each in found.entities:
        assert text[each.offset : each.offset + len(each.text)] == each.text
        assert each.count >= 1
    assert bool(found.entities) == (bool(entity.strip()) and entity.strip() in text)
