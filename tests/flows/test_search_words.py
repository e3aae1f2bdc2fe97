"""By which words texts of all scripts are found."""

import pytest

from tests.support.search import finds, indexed

# A text, what finds it, and what does not.
TEXTS = {
    "Greek": ("Καλημέρα Κόσμε ΟΔΟΣ", ["κοσμε", "ΚΑΛΗΜΕΡΑ", "οδος", "Καλημ"], ["κόσμος"]),
    "Russian": ("Ёжик в тумане, мой дом", ["ежик", "ТУМАНЕ", "мой"], ["мои дом", "туманы"]),
    "Arabic": ("السَّلَامُ عَلَيْكُمْ إلى أحمد", ["السلام", "عليكم", "احمد"], ["سلامة"]),
    "Persian": ("من می‌خواهم بروم", ["میخواهم", "می‌خواهم"], ["خواهم"]),
    "Hebrew": ('שָׁלוֹם עולם, צה"ל', ["שלום", "עולם", 'צה"ל'], ["עולמי"]),
    "Hindi": ("नमस्ते दुनिया, पुल", ["नमस्ते", "दुनिया", "पुल"], ["पल"]),
    "German": ("Die Straße über den Fluß", ["strasse", "STRASSE", "uber", "Fluss"], ["ueber"]),
    "Turkish": ("İstanbul Isparta ılık", ["istanbul", "ISTANBUL", "ısparta", "ilik"], ["stan"]),
    "Polish": ("Łódź, zażółć gęślą jaźń", ["lodz", "zazolc", "GESLA"], ["odz"]),
    "French": ("L'été à l'hôtel", ["ete", "hotel", "l'hotel", "été"], ["lhotel"]),
    "Vietnamese": ("Tiếng Việt đẹp", ["tieng viet", "dep"], ["vietname"]),
    "Chinese": ("我们明天去北京大学吧", ["北京", "京大", "北京大学", "学", "吧"], ["京北", "大京"]),
    "Japanese": ("東京タワーへ行きましょう", ["東京", "タワー", "京タ", "行き", "う"], ["京都"]),
    "half width": ("ﾃｽﾄ ＡＢＣ１２３", ["テスト", "abc123"], ["トス"]),
    "Korean": ("서울에서 여행했습니다", ["서울", "여행", "서울 여행", "울"], ["부산", "울서"]),
    "Thai": ("ภาษาไทยง่ายนิดเดียว", ["ภาษา", "ไทย", "เดียว"], ["ยาก"]),
    "Lao": ("ພາສາລາວງ່າຍ", ["ພາສາ", "ລາວ"], ["ຍາກ"]),
    "Khmer": ("ខ្ញុំស្រលាញ់ភាសាខ្មែរ", ["ភាសា", "ខ្មែរ"], ["បារាំង"]),
    "Burmese": ("မြန်မာဘာသာစကား", ["မြန်မာ", "စကား"], ["အင်္ဂလိပ်"]),
    "emoji": ("party 🎉 time 👍🏽 👩‍💻 🇬🇷", ["🎉", "👍", "👍🏿", "👩‍💻", "🇬🇷"], ["🎈", "🇮🇹"]),
    "code": (
        "call fooBarBaz() in utils.parse_file, see https://example.com/x?y=1 #1234",
        ["foobarbaz", "bar", "parse_file", "utils.parse", "file", "example.com", "#1234"],
        ["arbaz", "file_parse"],
    ),
    "signs": (
        "it's \\ 100% 'quoted' & (done) | <-> :* 3.14",
        ["it's", "100", "quoted", "3.14"],
        ["314"],
    ),
    "mixed": ("版本2024年发布beta测试", ["2024", "2024年", "版本", "beta", "beta测试"], ["2023年"]),
}


async def test_texts_are_found_by_their_words(alice):
    room = await alice.creates_room()
    for text, _, _ in TEXTS.values():
        await alice.sends(room, text)
    await indexed(alice, room)
    found, missed, wrong = {}, [], []
    for language, (text, finding, not_finding) in TEXTS.items():
        for term in (*finding, *not_finding):
            found[term] = await finds(alice, term, filter={"limit": 50})
        missed += [(language, term) for term in finding if text not in found[term]]
        wrong += [(language, term) for term in not_finding if text in found[term]]
    assert (missed, wrong) == ([], [])


@pytest.mark.parametrize(
    "body",
    ["a\u0000b word", "\ud83d word".encode("utf-16", "surrogatepass").decode("utf-16", "replace"),
     "word " + "x" * 20_000, "word " + "y " * 20_000, "word " + "漢" * 15_000, "word \\' '' \\\\"],
)  # fmt: skip
async def test_no_text_stops_the_index(alice, body):
    room = await alice.creates_room()
    await alice.sends(room, body)
    await indexed(alice, room)
    assert len(await finds(alice, "word")) == 1


@pytest.mark.parametrize("body", [None, 1, ["word"], {"word": "word"}, True])
async def test_a_body_of_another_type_is_no_text(alice, body):
    room = await alice.creates_room()
    await alice.sends(room, {"msgtype": "m.text", "body": body})
    await alice.sets(room, "m.room.topic", {"topic": body, "m.topic": {"m.text": body}})
    await indexed(alice, room)
    assert await finds(alice, "word") == []


@pytest.mark.parametrize(
    "term",
    ["", " ", "'", '"', "\\", "&", "|", "!", "<->", ":*", "'a' & !", "a" * 10_000,
     "b " * 10_000, "漢" * 10_000, '"' * 100, "(" * 1000, "\U0010ffff", "１／２"],
)  # fmt: skip
async def test_any_term_is_answered(alice, term):
    room = await alice.creates_room()
    await alice.sends(room, "word")
    await indexed(alice, room)
    assert await finds(alice, term) == []
