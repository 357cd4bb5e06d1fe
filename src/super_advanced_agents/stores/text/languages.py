"""The language of a text in Latin script, by function words and letters, and its stemmer.

Other scripts need no guess: their letters tell which stemmer a word takes.
"""

# ruff: noqa: RUF001  # Turkish letters

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from functools import cache

from tantivy import Filter, TextAnalyzer, TextAnalyzerBuilder, Tokenizer

from super_advanced_agents.errors import ConfigurationError

MAX_TOKEN_BYTES = 64

ENGLISH = ""
"""The code of English, which is also that of texts whose language is not recognized."""

STEMMERS = {
    "de": "german",
    "fr": "french",
    "es": "spanish",
    "pt": "portuguese",
    "it": "italian",
    "nl": "dutch",
    "sv": "swedish",
    "da": "danish",
    "no": "norwegian",
    "fi": "finnish",
    "hu": "hungarian",
    "ro": "romanian",
    "tr": "turkish",
}
"""The languages that are recognized, the likelier of two that share words first."""

CODES = frozenset({"en", *STEMMERS})
"""The codes of the languages with a stemmer, as settings name them."""

# Words that are in most questions and tell nothing about the topic: without them recall@10 rises from 0.64 to 0.66.
_ENGLISH_STOP_WORDS = (  # noqa: SIM905  # eighty quoted words would be harder to read
    "a an and are as at be been being but by can could did do does for from had has have he her him his how i if in "
    "into is it its just me my no not of on or our she should so such than that the their them then there these they "
    "this to too us very was we were what when where which who will with would you your am about"
).split()

# Further evidence of English; as stop words they would tell too much.
_ENGLISH_EVIDENCE = (  # noqa: SIM905
    "after again all also any because before between both down each every get go got here know like make more most "
    "need never now off one only other out over said same some still thank thanks today under until up want well "
    "while why yes"
).split()

# Function words of other languages that are English words, names, or parts of names too: "hay", "war", "Los Angeles".
_SHARED_WORDS = (  # noqa: SIM905
    "ad ai al alla am ama an are as at av bare be ben bin biz care chi com come con da dan das de del den der des di "
    "die din do door dos dove du ea el en era est et eu fi for ha had ham han hat hay he hem her ho hun in is ja jo ki "
    "la las le lo los ma mai man me med men met mi mia min mine mitt mon most nada no non nos of on op os ou over par "
    "pe per plus pour san sans sen sin so som son soy su te till ton tot tra tu um un uno under van var vi volt von "
    "was war we ya yo zu"
).split()

# Function words are both the evidence of a language and its stop words.
_FUNCTION_WORDS = {
    "de": "aber als am an auch auf aus bei bin bis da das dass dem den der des die du ein eine einem einen einer er es "
    "für haben hat hatte ich ihr im in ist ja kann kein keine mein meine mit nach nicht noch nur oder schon sehr sein "
    "sich sie sind so über um und uns unser unsere von vor war waren was wenn wer wie wir wird wo wurde zu zum zur",
    "fr": "ai ainsi alors au aux avec avons c ce ces cette ceux chez comme d dans de des donc du elle elles en est et "
    "ont étais était été être eu il ils j je l la le les leur leurs lui m ma mais me mes mon n ne nos notre nous on "
    "ou où par pas plus pour qu quand que qui s sa sans ses si son sont suis sur t ta tes ton très tu un une vos votre "
    "vous",
    "es": "al algo como con cuando de del desde donde el ella ellas ellos en entre era eran es esa ese eso esta está "
    "están este esto fue ha han hasta hay la las le lo los más me mi mis muy nada ni no nos o para pero por porque "
    "que qué quien se ser si sin sobre son soy su sus también te tiene todo tu un una unos y ya yo",
    "pt": "a ao aos as até com como da das de do dos e ela elas ele eles em entre era essa esse esta está este eu foi "
    "foram há isso isto já lhe mais mas me meu minha muito na nas não nem no nos o os ou para pela pelo por porque "
    "quando que quem se sem ser seu sua são só também te tem uma um você vocês",
    "it": "a ad agli ai al alla alle anche che chi ci come con cosa d da dal dalla degli dei del della delle dell di "
    "dove e è era erano fra gli ha hai hanno ho i il in io l la le lei lo loro lui ma me mi mia mio nei nel nella non "
    "o per perché più quando quella quello questa questo se sei si siamo sono sta su sua sul sulla suo tra un una uno",
    "nl": "aan al als bij dan dat de deze die dit door een en er ge geen had heb hebben heeft het hij hun ik in is je "
    "kan maar me meer met mij mijn naar niet nog nu of om onder ons onze ook op over te tot uit van veel voor waren "
    "was wat we wel werd wie wij wordt ze zich zijn zo zonder",
    "sv": "alla att av blev bli de dem den denna det detta där du efter eller en ett från för ha hade han har hennes "
    "hon hur i icke ingen inte jag kan man med men mig min mina mot mycket ni nu när någon och om oss på sig sin ska "
    "som så till under upp ut vad var vara vi vid vår är över",
    "da": "af alle at blev bliver da de dem den denne der det dette dig du efter eller en er et for fra få ham han har "
    "havde hende her hun hvad hvor i ikke ind jeg jo kan kunne man med meget men mig min mine nogle noget nu når og "
    "om op os på sig sin skal som så til ud under var ved vi vil være",
    "no": "alle at av bare ble blir da de dem den denne der det dette du eller en er et etter for fra få han har hadde "
    "henne her hun hva hvor i ikke inn jeg kan kunne man med meg meget men min mine mitt noe noen nå når og om opp "
    "oss på seg sin skal som så til under ut var ved vi vil være",
    "fi": "ei eivät emme en ennen että eikä hän he ja jo joka jos jotka juuri kanssa kuin kun me mikä minä minun mitä "
    "mukaan mutta myös ne niin nyt olen oli olivat olla on ovat se sekä sen siellä sinä sitä tai te tämä tätä vain "
    "vai",
    "hu": "a az azt be csak de egy ehhez ember én ennek és ez ezt fel hanem hogy ha ki kell le lesz már meg mert mi "
    "mint más nagyon nekem nem most nincs ő ők pedig s sem szerint te vagy van vannak volt voltak",
    "ro": "a acest această acesta ai al ale am are asta au ca că care ce cel cu cum da dar de deci din dintre după e "
    "ea ei el ele eu este fi fost în îi îl îmi la le lui mai mă mea meu mi nu o pe pentru prin s sa să sau se sunt și "
    "te tu un una unde unei unui va vă",
    "tr": "ama ancak bana ben benim bir biz bu bunu çok çünkü da daha de değil diye en gibi göre hem her hiç için ile "
    "ise kadar ki mi mı mu mü nasıl ne neden o olan olarak oldu ona onu onun sen siz şey şu ve veya var ya yok",
}

_LETTERS = {
    "de": "äöüß",
    "fr": "àâæçèéêëîïôùûüÿœ",
    "es": "áéíñóúü",
    "pt": "àáâãçéêíóôõú",
    "it": "àèéìíòóùú",
    "nl": "áèéëïóöü",
    "sv": "äåéö",
    "da": "åæéø",
    "no": "åæèéòôø",
    "fi": "äåö",
    "hu": "áéíóöúüőű",
    "ro": "âîășşțţ",
    "tr": "âçîöûüğış",
}
"""The letters of each language beyond those of ASCII."""

# The weight of one word or letter. One alone is enough for a language, unless English has it too.
_WORD, _SHARED_WORD, _LETTER, _LOAN_LETTER, _ANY_LETTER = 1.0, 0.5, 1.5, 1.0, -0.5
_LOAN_LETTERS = "áéëíïñóú"
_SURE = 2.0


def _languages_by_word() -> dict[str, tuple[str, ...]]:
    languages: dict[str, tuple[str, ...]] = {}
    for code, words in _FUNCTION_WORDS.items():
        for word in words.split():
            languages[word] = (*languages.get(word, ()), code)
    return languages


# A letter alone is in every language: "i", an initial, or the rest of "don't".
_ENGLISH_WORDS = frozenset(word for word in [*_ENGLISH_STOP_WORDS, *_ENGLISH_EVIDENCE] if len(word) > 1)
_SHARED = frozenset(_SHARED_WORDS) - _ENGLISH_WORDS
_LANGUAGES_OF_WORD = _languages_by_word()
_KNOWN_WORDS = _ENGLISH_WORDS.union(_LANGUAGES_OF_WORD) - frozenset("abcdefghijklmnopqrstuvwxyz")
_LANGUAGES_OF_LETTER = {
    letter: [code for code in STEMMERS if letter in _LETTERS[code]] for letter in set("".join(_LETTERS.values()))
}


@dataclass(slots=True)
class _Fixed:
    language: str | None = None


_fixed = _Fixed()


def fix_language(code: str | None) -> None:
    """Let this process analyze all texts in Latin script as texts of one language.

    It holds for texts that are indexed from then on, in all stores of the process. Texts that were indexed before keep
    their terms, and are still found by their own words: a query is analyzed in all languages of an index.

    Args:
        code: a code of `STEMMERS`, or `"en"`; None to recognize the language of each text, which is the default.

    Raises:
        ConfigurationError: there is no stemmer for this language.
    """
    if code is not None and code not in CODES:
        raise ConfigurationError(
            f"text_language: there is no stemmer for {str(code)[:16]!r}", hint=f"use one of {', '.join(sorted(CODES))}"
        )
    _fixed.language = ENGLISH if code == "en" else code


def fixed_language() -> str | None:
    """Return the language of all texts of this process; None where each text's is recognized."""
    return _fixed.language


def detect_language(words: Set[str], letters: Set[str] = frozenset()) -> str:
    """Return the code of a text's language; that of English when no other one is recognized.

    Args:
        words: the distinct words of the text, in small letters.
        letters: its distinct letters beyond ASCII, in small letters.
    """
    evidence = words & _KNOWN_WORDS
    if not letters and evidence <= _ENGLISH_WORDS:
        return ENGLISH
    english = len(evidence & _ENGLISH_WORDS) * _WORD + len(evidence & _SHARED) * _SHARED_WORD
    scores = dict.fromkeys(STEMMERS, len(letters) * _ANY_LETTER)  # below, a language gains more by letters that it has
    for word in evidence:
        for code in _LANGUAGES_OF_WORD.get(word, ()):
            scores[code] += _WORD
    for letter in letters:
        for code in _LANGUAGES_OF_LETTER.get(letter, ()):
            scores[code] += _LOAN_LETTER if letter in _LOAN_LETTERS else _LETTER
    code = max(scores, key=scores.__getitem__)  # the first of equals
    best = scores[code]
    alone = list(scores.values()).count(best) == 1
    if best < english + _WORD or not (alone or letters or best >= _SURE):
        return ENGLISH
    return code


@cache
def latin_analyzer(language: str) -> TextAnalyzer:
    """Return the analyzer of words in Latin script for a language, English by default.

    Accents are folded after stemming, since the endings that a stemmer knows have them. English has none: they are
    folded first.
    """
    builder = TextAnalyzerBuilder(Tokenizer.simple()).filter(Filter.remove_long(MAX_TOKEN_BYTES))
    builder = builder.filter(Filter.lowercase())
    if language == ENGLISH:
        builder = builder.filter(Filter.ascii_fold()).filter(Filter.custom_stopword(_ENGLISH_STOP_WORDS))
        return builder.filter(Filter.stemmer("english")).build()
    builder = builder.filter(Filter.custom_stopword(_FUNCTION_WORDS[language].split()))
    return builder.filter(Filter.stemmer(STEMMERS[language])).filter(Filter.ascii_fold()).build()
