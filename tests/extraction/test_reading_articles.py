"""Articles from JSONL and CSV: what is read, what is skipped and why."""

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit_router.errors import ConfigError
from ratelimit_router_extraction.articles import Article, BadRow, article_of, domain_of
from ratelimit_router_extraction.reading import format_of, open_articles, read_articles


def read(data: bytes, name: str = "-", **columns: str) -> list[Article | BadRow]:
    return list(read_articles(io.BytesIO(data), name=name, columns=columns))


def texts(rows: list[Article | BadRow]) -> list[str]:
    return [row.text if isinstance(row, Article) else str(row) for row in rows]


def test_jsonl_row_becomes_an_article() -> None:
    """Every field is found under its name; the domain comes out of the URL."""
    row = {"id": 7, "title": "T", "text": "x", "url": "https://WWW.Example.org:8080/a", "hotness": "3.5", "cluster": 4}
    (article,) = read(json.dumps(row).encode())
    assert article == Article(id="7", title="T", text="x", domain="example.org", hotness=3.5, cluster="4", line=1)


def test_alternative_and_mapped_names_are_understood() -> None:
    """cluster_hotness and domain_goodness are hotness and goodness; a mapping names any other column."""
    (article,) = read(b'{"ID": "a", "body": "x", "cluster_hotness": 2, "domain_goodness": 0.5}', id="ID", text="body")
    assert isinstance(article, Article)
    assert (article.id, article.text, article.hotness, article.goodness) == ("a", "x", 2.0, 0.5)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{nonsense", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'{"id": "b", "text": "\xff"}', "not UTF-8"),
        (b'{"text": "x"}', "no id"),
        (b'{"id": "  ", "text": "x"}', "no id"),
        (b'{"id": true, "text": "x"}', "id must be text or a whole number, not true or false"),
        (b'{"id": "b"}', "neither a title nor a text"),
        (b'{"id": "b", "title": "  ", "text": "\\n"}', "neither a title nor a text"),
        (b'{"id": "b", "text": 5}', "text must be text, not a number"),
        (b'{"id": "b", "text": "x", "hotness": "warm"}', "hotness must be a number"),
        (b'{"id": "b", "text": "x", "hotness": NaN}', "hotness must be a finite number"),
        (b'{"id": "b", "text": "x", "hotness": true}', "hotness must be a number"),
        (b'{"id": "good", "text": "x"}', "the id is that of line 1"),
        (b'{"id": ' + b"9" * 5000 + b"}", "too long"),
        (b"[" * 100_000, "nested too deep"),
    ],
)
def test_bad_row_is_told_with_its_line_and_the_rest_goes_on(line: bytes, reason: str) -> None:
    """A row that cannot be used costs itself only."""
    good, bad, after = read(b'{"id": "good", "text": "x"}\n\n' + line + b'\n{"id": "after", "text": "y"}\n', "a.jsonl")
    assert isinstance(good, Article)
    assert isinstance(bad, BadRow)
    assert bad.line == 3
    assert reason in bad.reason
    assert isinstance(after, Article)
    assert after.line == 4


def test_no_reason_quotes_the_article() -> None:
    """What is told of a bad row holds nothing of its text."""
    (bad,) = read(b'{"id": "b", "text": "secret words", "hotness": "secret heat"}')
    assert "secret" not in str(bad)


def test_mark_crlf_nul_and_line_separators_do_no_harm() -> None:
    """A byte order mark, CRLF, NUL and U+2028 inside a text are read as they are."""
    text = "a\u2028b\x00c"
    data = b"\xef\xbb\xbf" + json.dumps({"id": "1", "text": text}, ensure_ascii=False).encode() + b"\r\n"
    assert texts(read(data)) == [text]
    raw = b'id,text\r\n1,"a\x00b"\r\n'
    assert texts(read(b"\xef\xbb\xbf" + raw)) == ["a\x00b"]


def test_half_a_surrogate_pair_keeps_the_length_of_the_text() -> None:
    """What is no character becomes U+FFFD, one for one, so offsets stay right and the text can be sent."""
    (article,) = read(b'{"id": "1", "text": "a\\ud83dbc\\ude00"}')
    assert isinstance(article, Article)
    assert article.text == "a\ufffdbc\ufffd"
    assert article.content_hash


def test_csv_with_quotes_huge_fields_and_short_rows() -> None:
    """Fields over several lines and of any size are read; a row of the wrong width is told with its first line."""
    huge = "x" * 400_000
    data = f'id,title,text\n1,"a ""b""\nc",{huge}\n2,short\n3,t,\xff\n4,t,u\n'.encode("latin-1")
    rows = read(data, "a.csv")
    assert isinstance(rows[0], Article)
    assert (rows[0].title, rows[0].text, rows[0].line) == ('a "b"\nc', huge, 2)
    assert [str(row) for row in rows[1:3]] == ["line 4: 2 fields under a header of 3", "line 5: not UTF-8"]
    assert isinstance(rows[3], Article)


@pytest.mark.parametrize(("name", "delimiter"), [("a.tsv", "\t"), ("a.csv", ";"), ("-", ";"), ("-", "\t")])
def test_csv_delimiter_is_found_in_the_header(name: str, delimiter: str) -> None:
    """Comma, semicolon or tab, whichever the header has."""
    data = delimiter.join(("id", "title", "text")) + "\n" + delimiter.join(("1", "a, b", "c"))
    assert texts(read(data.encode(), name)) == ["c"]


def test_csv_without_header_or_mapped_column_is_refused() -> None:
    """Both are mistakes of the call, not of a row."""
    with pytest.raises(ConfigError, match="no column 'Body' for text; there are: id, text"):
        read(b"id,text\n1,x\n", "a.csv", text="Body")
    with pytest.raises(ConfigError, match=r"a\.csv: a CSV needs a header line"):
        read(b"", "a.csv")


@pytest.mark.parametrize(
    ("name", "first", "found"),
    [("a.CSV", b"{", "csv"), ("a.jsonl", b"id,text", "jsonl"), ("-", b"  {", "jsonl"), ("-", b"id,text", "csv")],
)
def test_format_by_suffix_or_first_byte(name: str, first: bytes, found: str) -> None:
    """A telling suffix decides, else the first byte."""
    assert format_of(name, first) == found


@pytest.mark.parametrize(
    ("place", "domain"),
    [
        ("https://user:pw@www.Example.org:80/x", "example.org"),
        ("example.org.", "example.org"),
        ("//cdn.example.org/x", "cdn.example.org"),
        ("http://[broken", ""),
        ("", ""),
    ],
)
def test_domain_of_a_url_or_a_bare_domain(place: str, domain: str) -> None:
    """Lower case, without port, user, www. and a trailing dot; nothing if it is none."""
    assert domain_of(place) == domain


def test_content_hash_tells_title_from_text() -> None:
    """Moving a character from the title to the text is another content."""
    assert Article(id="1", title="ab", text="c").content_hash != Article(id="1", title="a", text="bc").content_hash
    assert Article(id="1", title="a", text="b").content_hash == Article(id="2", title="a", text="b").content_hash


def test_missing_file_is_a_config_error(tmp_path: Path) -> None:
    """One line with the file."""
    with pytest.raises(ConfigError, match="nothing here"):
        open_articles(str(tmp_path / "nothing here"))


@given(st.binary(max_size=300), st.sampled_from(["a.jsonl", "a.csv", "-"]))
def test_no_bytes_break_the_reader(data: bytes, name: str) -> None:
    """Whatever the bytes, there are rows, bad rows, or one refusal."""
    try:
        rows = read(data, name)
    except ConfigError:
        return
    assert all(isinstance(row, Article | BadRow) for row in rows)


@given(st.dictionaries(st.sampled_from(["id", "title", "text", "url", "hotness"]), st.none() | st.text() | st.floats()))
def test_no_row_breaks_an_article(row: dict[str, object]) -> None:
    """Whatever the values, the answer is an article or a reason."""
    assert isinstance(article_of(row, 1, {}), Article | BadRow)
