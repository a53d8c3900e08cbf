"""The estimate against the counts of real tokenizers, which were taken once and stand here as numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit_router.estimate import estimate_tokens

# name: (the larger of what o200k and Tekken count, the text)
SAMPLES = {
    "en_news": (
        121,
        "The city council of Harlow voted late on Tuesday to spend £4.2 million on a new flood barrier a"
        "long the River Stort, ending a two-year dispute between shopkeepers and the regional water boar"
        'd. Councillor Margaret Ellery said the decision "should have been taken in March 2024, when the'
        ' first basements filled". Thames Valley Water, which will pay a third of the cost, expects work'
        " to begin in October and to last fourteen months. Opponents argued that the estimate was out of"
        " date: prices of steel sheet piling rose 11 percent last year.",
    ),
    "de": (
        103,
        "Der Stadtrat von Lübeck hat am Dienstagabend beschlossen, die Sanierung der Straßenbahnbrücke m"
        "it 12,5 Millionen Euro zu fördern. Oberbürgermeisterin Annegret Köhler sprach von einer überfäl"
        "ligen Entscheidung; die Verkehrsbetriebe rechnen mit einer Bauzeit von achtzehn Monaten. Kritik"
        " kam von der Bürgerinitiative Wakenitzufer, die Umweltverträglichkeitsprüfungen für unzureichen"
        "d hält und eine Klage vor dem Verwaltungsgericht Schleswig erwägt.",
    ),
    "fr": (
        85,
        "Le tribunal administratif de Rennes a suspendu mercredi l'arrêté préfectoral qui autorisait l'e"
        "xtension du port de plaisance de Saint-Quay. Les associations de défense du littoral, qui avaie"
        "nt déposé un recours en février, se félicitent d'une décision « attendue depuis des années ». L"
        "a chambre de commerce évalue le manque à gagner à près de 3,4 millions d'euros.",
    ),
    "pl": (
        103,
        "Rada miasta Gdyni przyjęła w środę uchwałę o budowie nowej zajezdni autobusowej za 96 milionów "
        "złotych. Prezydent Wojciech Szczepański powiedział, że inwestycja zostanie ukończona przed grud"
        "niem 2027 roku. Mieszkańcy dzielnicy Pogórze skarżą się na hałas i zapowiadają odwołanie do woj"
        "ewódzkiego sądu administracyjnego.",
    ),
    "uk": (
        98,
        "Міська рада Чернівців ухвалила у вівторок рішення про відновлення історичного театру. За словам"
        "и директорки Оксани Гнатюк, ремонт коштуватиме 85 мільйонів гривень і триватиме до осені 2027 р"
        "оку. Мешканці сусідніх будинків просять облаштувати тимчасові пішохідні переходи.",
    ),
    "ja": (
        119,
        "札幌市議会は火曜日、老朽化した地下鉄南北線の駅舎を改修するため、総額百二十億円の補正予算案を可決した"
        "。市交通局の田村健一局長は「利用者の安全を最優先にする」と述べ、来年四月に着工する方針を示した。地元"
        "の商店街からは工事期間中の売り上げ減少を心配する声も上がっている。",
    ),
    "ko": (
        79,
        "부산시는 화요일 노후한 항만 시설을 정비하기 위해 4천억 원 규모의 예산안을 확정했다고 밝"
        "혔다. 박지훈 시장은 내년 봄에 공사를 시작해 삼 년 안에 마무리하겠다고 말했다. 인근 상"
        "인들은 공사 기간 동안 손님이 줄어들 것을 걱정하고 있다.",
    ),
    "ar": (
        59,
        "أعلنت بلدية الإسكندرية يوم الثلاثاء عن خطة بقيمة أربعمئة مليون جنيه لترميم الكورنيش القديم. وقا"
        "ل المحافظ أحمد الشريف إن الأعمال ستبدأ في مارس وتستمر ثمانية عشر شهرا. ويخشى أصحاب المقاهي من خ"
        "سائر كبيرة خلال موسم الصيف.",
    ),
    "code": (
        81,
        'def load(path: Path) -> dict[str, Any]:\n    """Read it."""\n    with path.open("rb") as file:\n  '
        "      data = tomllib.load(file)\n    return {key: value for key, value in data.items() if not ke"
        'y.startswith("_")}\n\n\nif __name__ == "__main__":\n    print(load(Path(sys.argv[1])), file=sys.std'
        "err)\n",
    ),
    "numbers": (
        119,
        "1812 0.3387 44,120 2026-11-22 14:03:59 +49 30 901820 9781234567897 3.14159265358979 12/04/1987 "
        "£4,200,000 $1.25 87.5% 1e-9",
    ),
    "emoji": (
        109,
        "🎉🎉 Great news!!! 🚀🔥 We won 🏆 the cup 👩‍👩‍👧‍👦 👍🏽👍🏽 see you tonight 🍕🍺😂😂😂 ❤️ 🇩🇪🇫🇷🇺🇦",
    ),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_it_is_near_the_larger_of_two_real_counts(name: str) -> None:
    """Every kind of text is estimated at 0.85 to 1.4 times what the dearer of two current tokenizers counts."""
    count, text = SAMPLES[name]
    assert 0.85 * count <= estimate_tokens(text) <= 1.4 * count


def test_it_errs_on_the_high_side() -> None:
    """Over all the samples together the estimate is above the real count, by at most a quarter."""
    real = sum(count for count, _ in SAMPLES.values())
    assert real < sum(estimate_tokens(text) for _, text in SAMPLES.values()) < 1.25 * real


def test_an_empty_text_costs_nothing() -> None:
    """No text, no tokens."""
    assert estimate_tokens("") == 0


def test_a_short_word_is_one_token() -> None:
    """A word that is in every vocabulary counts once, and the space before it is free."""
    assert estimate_tokens("the") == 1
    assert estimate_tokens("the sea and the sun") == 5


def test_a_megabyte_costs_as_much_as_its_parts() -> None:
    """The estimate grows with the text in proportion, also when it is huge."""
    text = "The council of Harlow voted late on Tuesday. "
    assert estimate_tokens(text * 22_000) == pytest.approx(estimate_tokens(text) * 22_000, rel=0.1)


def test_an_endless_word_is_not_taken_for_a_cheap_one() -> None:
    """A blob without spaces (base64, a long identifier) costs at least two tokens for five characters."""
    assert estimate_tokens("x" * 10_000) >= 4_000


def test_text_that_is_not_valid_unicode_is_estimated_too() -> None:
    """A lone surrogate, as a broken JSON escape leaves behind, does not raise."""
    assert estimate_tokens("a \ud800 b") >= 3


@given(st.text())
def test_any_text_has_an_estimate_within_bounds(text: str) -> None:
    """Never negative, never more than four tokens a character, never 0 for a text that shows something."""
    tokens = estimate_tokens(text)
    assert 0 <= tokens <= 4 * len(text) + 1
    assert tokens > 0 or not text.strip()


@given(st.text(), st.text())
def test_more_text_is_never_cheaper(text: str, more: str) -> None:
    """Appending a line never lowers the estimate."""
    assert estimate_tokens(text) <= estimate_tokens(text + "\n" + more)
