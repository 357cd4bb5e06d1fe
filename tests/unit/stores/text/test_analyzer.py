"""Tests of the analyzer: scripts, marks, capitals, emoji, and the languages of Latin script."""

# ruff: noqa: RUF001  # words of many scripts

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from super_advanced_agents.stores import FAISSVectorStore
from super_advanced_agents.stores.text.analyzer import analyze, query_terms
from super_advanced_agents.stores.text.languages import STEMMERS

DIM = 4

MATCHES = [
    ("İzmir limanı", "izmir"),
    ("İZMİR", "izmir"),
    ("IŞIKLAR yandı", "ışıklar"),
    ("Diyarbakır'da güzel bir gün", "DIYARBAKIR"),
    ("ΑΘΗΝΑ", "Αθήνα"),
    ("Ο λόγος του", "ΛΟΓΟΣ"),
    ("ἐν ἀρχῇ ἦν ὁ λόγος", "αρχη"),
    ("بَيْتٌ كبير", "بيت"),
    ("الكتاب على الطاولة", "كتاب"),
    ("أحمد في المدرسة", "احمد"),
    ("أحمد في المدرسة", "مدرسة"),
    ("الكِتَابُ على الطَّاوِلَةِ", "طاولة"),
    ("سيارة جديدة", "السيارات"),
    ("والبيت بعيد", "بيت"),
    ("وقت طويل", "الوقت"),
    ("للمدرسة باب", "مدرسة"),
    ("كتاب‌ها روی میز", "کتاب"),
    ("جميـــل", "جميل"),
    ("کتاب خوب", "كتاب"),
    ("می\u200cخواهم", "میخواهم"),
    ("בַּיִת גדול", "בית"),
    ("зелёный чай", "зеленый"),
    ("старый за\u0301мок", "замок"),
    ("новые книги", "книгу"),
    ("हिन्दी भाषा", "हिन्दी"),
    ("माँ की क़लम", "मां"),
    ("माँ की क़लम", "कलम"),
    ("Please send an e-mail", "email"),
    ("Please send an email", "e-mail"),
    ("Please send an e\u2011mail", "emails"),
    ("Our well-known on-line shop", "online"),
    ("Our well-known on-line shop", "known"),
    ("Die E-Mail von meiner Mutter ist nicht da", "email"),
    ("новый интернет-магазин", "магазины"),
    ("தமிழ் மொழிகள்", "மொழி"),
    ("Donau\u00addampfschiff", "donaudampfschiff"),
    ("pass\u200bword and \ufeffkey", "password"),
    ("pass\u2060word and key", "KEY"),
    ("Straße", "STRASSE"),
    ("Đà Nẵng đẹp lắm", "da nang"),
    ("Łódź", "lodz"),
    ("smørrebrød", "SMORREBROD"),
    ("The Foo™ device", "foo"),
    ("room ٣٤", "34"),
    ("ﬁne ｆｕｌｌ", "fine"),
    ("Ship it \U0001f680 on Friday", "\U0001f680"),
    ("Ship\U0001f680it", "ship"),
    ("great \U0001f44d\U0001f3fd work", "\U0001f44d"),
    ("great \U0001f44d work", "\U0001f44d\U0001f3ff"),
    ("\u2764\ufe0f you", "\u2764"),
    ("a \U0001f469\U0001f3fd\u200d\U0001f4bb at work", "\U0001f469\u200d\U0001f4bb"),
    ("a \U0001f469\u200d\U0001f4bb at work", "\U0001f4bb"),
    ("\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", "\U0001f1eb\U0001f1f7"),
    ("step 1\ufe0f\u20e3", "1"),
    ("Die Häuser am Hafen", "Haus"),
    ("Les chevaux sont rapides", "cheval"),
    ("Nous avons mangé des pommes", "manger"),
    ("Los países de la región", "país"),
    ("Ho comprato i libri per mia madre", "libro"),
    ("De huizen van mijn oma", "huis"),
    ("Flickorna är på sjön med sin mamma", "flicka"),
    ("Talossa on uusi keittiö", "talo"),
    ("A könyvek az asztalon vannak", "könyv"),
    ("Bu kitaplar çok güzel", "kitap"),
]


@pytest.mark.parametrize(("text", "query"), MATCHES)
@pytest.mark.parametrize("where", ["buffer", "disk"])
def test_word_is_found_in_another_form_beside_texts_of_many_languages(text, query, where, monkeypatch):
    """Marks, capitals, unseen characters and endings make no difference, in an index of many languages."""
    if where == "disk":
        monkeypatch.setattr("super_advanced_agents.stores.faiss.keywords.index.FLUSH_ROWS", 0)
    others = [other for other, _ in MATCHES if other != text]
    with FAISSVectorStore(DIM) as store:
        store.add_batch(np.ones((1 + len(others), DIM)), [{"text": each} for each in [text, *others]])
        assert text in {match.metadata["text"] for match in store.search_keywords(query, 10)}


@pytest.mark.parametrize("text", [text for text, _ in MATCHES])
def test_each_text_is_found_by_itself(text):
    """A query of the same words finds a text, whatever the language that it is taken for."""
    with FAISSVectorStore(DIM) as store:
        store.add(np.ones(DIM), {"text": text})
        assert len(store.search_keywords(text)) == 1


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("When did Anna go to the hotel?", ""),
        ("Rio de Janeiro", ""),
        ("I don’t know — naïve, perhaps", ""),
        ("die casting and a bus to Los Angeles", ""),
        ("hay 3 needle", ""),
        ("war movies", ""),
        ("Café opening hours", ""),
        ("Los Angeles weather", ""),
        ("Zażółć gęślą jaźń", ""),
        ("Dobrý večer, příteli", ""),
        ("Die Katze schläft auf dem Sofa", "de"),
        ("Le chat dort sur le canapé", "fr"),
        ("El gato duerme en el sofá", "es"),
        ("O gato não está na cozinha", "pt"),
        ("Il gatto dorme sul divano della nonna", "it"),
        ("De kat slaapt op het bed", "nl"),
        ("Katten sover på soffan och jag är trött", "sv"),
        ("Katten sover ikke, og jeg er træt af det", "da"),
        ("Jeg vet ikke hva hun har gjort etter jobben", "no"),
        ("Kissa nukkuu ja minä olen väsynyt", "fi"),
        ("A macska nem alszik, és én fáradt vagyok", "hu"),
        ("Pisica doarme și eu sunt obosit", "ro"),
        ("Kedi uyuyor ve ben çok yorgunum", "tr"),
    ],
)
def test_language_is_recognized_by_function_words_and_letters(text, language):
    """A sentence is enough; names and languages without a stemmer leave a text English."""
    assert analyze(text).language == language


def test_text_in_a_rare_language_is_not_ranked_higher_for_a_shared_name():
    """A name is as rare as in the texts of all languages together."""
    english = "We met Anna at the station"
    with FAISSVectorStore(DIM) as store:
        texts = [
            english,
            *[f"Anna and I went to town {i}" for i in range(40)],
            "Anna ist mit dem Zug nach Berlin gefahren",
        ]
        store.add_batch(np.ones((len(texts), DIM)), [{"text": each} for each in texts])
        best = store.search_keywords("Did Anna come to the station?")[0]
    assert best.metadata["text"] == english


@given(st.text(max_size=200), st.sets(st.sampled_from(list(STEMMERS))))
def test_query_has_every_term_of_the_same_text(text, languages):
    """Query and text are analyzed alike: a text's terms are among those of the query of its words."""
    terms, language = analyze(text)
    words = query_terms(text, [language, *languages - {language}] if language else list(languages))
    assert set(terms.split()) <= {term for word in words for term in word}
    assert len(set(words)) == len(words)
