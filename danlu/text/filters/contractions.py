"""The English pieces that are cut by a table and not by rule: contractions, abbreviations, faces.

Facts of spaCy's English (3.8, MIT), built from what its entries have in common. An entry is a piece and its words;
joined again they are the piece. Each entry with an apostrophe is there with the typographic one too.
"""

from collections.abc import Iterator
from functools import lru_cache

Cut = tuple[str, ...]

# Who takes which ending; an ending of two parts is cut twice.
LL, D, VE, RE, S = ("'ll",), ("'d",), ("'ve",), ("'re",), ("'s",)
EVERY = (LL, ("'ll", "'ve"), D, ("'d", "'ve"))
ENDINGS: dict[str, tuple[Cut, ...]] = {
    "i": (*EVERY, VE, ("'m",), ("'m", "a")),
    **dict.fromkeys(("you", "we", "they"), (*EVERY, VE, RE)),
    **dict.fromkeys(("he", "she", "it"), (*EVERY, S)),
    **dict.fromkeys(("who", "what", "when", "where", "why", "how", "there"), (*EVERY, S, VE, RE)),
    **dict.fromkeys(("that", "this"), (*EVERY, S)),
    **dict.fromkeys(("these", "those"), (*EVERY, VE, RE)),
    **dict.fromkeys(("could", "might", "must", "should", "would"), (("n't",), ("n't", "'ve"), VE)),
    **dict.fromkeys(
        ("ca", "do", "does", "did", "had", "may", "need", "ought", "sha", "wo"), (("n't",), ("n't", "'ve"))
    ),
    **dict.fromkeys(("ai", "are", "is", "was", "were", "have", "has", "dare"), (("n't",),)),
}
# Words of their own that a pronoun and an ending without its apostrophe would make.
WORDS = "ill its hell shell shed were well whore Ill Its Hell Shell Shed Were Well Whore"
# fmt: off
CLIPPED = ("doin", "goin", "nothin", "nuthin", "ol", "somethin", "lovin", "havin")
OTHERS: tuple[Cut, ...] = (
    ("y'", "all"), ("y", "all"), ("how", "'d", "'y"), ("How", "'d", "'y"), ("not", "'ve"), ("not", "ve"),
    ("Not", "'ve"), ("Not", "ve"), ("can", "not"), ("Can", "not"), ("gon", "na"), ("Gon", "na"), ("got", "ta"),
    ("Got", "ta"), ("let", "'s"), ("Let", "'s"), ("c'm", "on"), ("C'm", "on"),
)
WHOLE = (
    "em 'em ll 'll nuff 'nuff 'S 's ‘S ‘s and/or w/o 're 'Cause 'cause 'cos 'Cos 'coz 'Coz 'cuz 'Cuz 'bout ma'am Ma'am "
    "o'clock O'clock 'd a.m. Adm. Bros. co. Co. Corp. D.C. Dr. e.g. E.g. E.G. Gen. Gov. i.e. I.e. I.E. Inc. Jr. Ltd. "
    "Md. Messrs. Mo. Mont. Mr. Mrs. Ms. p.m. Ph.D. Prof. Rep. Rev. Sen. St. vs. v.s. Mt. Ak. Ala. Apr. Ariz. Ark. Aug. "
    "Calif. Colo. Conn. Dec. Del. Feb. Fla. Ga. Ia. Id. Ill. Ind. Jan. Jul. Jun. Kan. Kans. Ky. La. Mar. Mass. Mich. "
    "Minn. Miss. N.C. N.D. N.H. N.J. N.M. N.Y. Neb. Nebr. Nev. Nov. Oct. Okla. Ore. Pa. S.C. Sep. Sept. Tenn. Va. "
    "Wash. Wis. \\t \\n — ' \\\") <space> '' C++ a. b. c. d. e. f. g. h. i. j. k. l. m. n. o. p. q. r. s. t. u. v. w. "
    "x. y. z. ä. ö. ü."
)
FACES = r"""
    :) :-) :)) :-)) :))) :-))) (: (-: =) (= :] :-] [: [-: [= =] :o) (o: :} :-} 8) 8-) (-8 ;) ;-) (; (-; :( :-( :(( :-((
    :((( :-((( ): )-: =( >:( :') :'-) :'( :'-( :/ :-/ =/ =| :| :-| ]= =[ :1 :P :-P :p :-p :O :-O :o :-o :0 :-0 :() >:o
    :* :-* :3 :-3 =3 :> :-> :X :-X :x :-x :D :-D ;D ;-D =D xD XD xDD XDD 8D 8-D ^_^ ^__^ ^___^ >.< >.> <.< ._. ;_; -_-
    -__- v.v V.V v_v V_V o_o o_O O_o O_O 0_o o_0 0_0 o.O O.o O.O o.o 0.0 o.0 0.o @_@ <3 <33 <333 </3 (^_^) (-_-) (._.)
    (>_<) (*_*) (¬_¬) ಠ_ಠ ಠ︵ಠ (ಠ_ಠ) ¯\(ツ)/¯ (╯°□°）╯︵┻━┻ ><(((*>
"""
# fmt: on


@lru_cache(maxsize=1)
def exceptions() -> dict[str, Cut]:
    """Piece → its words."""
    table = {"".join(words): words for words in _entries()}
    for piece, words in list(table.items()):
        if "'" in piece:
            table[piece.replace("'", "’")] = tuple(word.replace("'", "’") for word in words)
    return table


def _entries() -> Iterator[Cut]:
    spared = frozenset(WORDS.split())
    for word, endings in ENDINGS.items():
        for start in (word, word.title()):
            for ending in endings:
                yield start, *ending
                plain = (start, *(part.replace("'", "") for part in ending))
                if "".join(plain) not in spared:
                    yield plain
    for hour in range(1, 13):
        yield from ((str(hour), half) for half in ("a.m.", "am", "p.m.", "pm"))
    yield from OTHERS
    for word in CLIPPED:
        yield from ((form,) for start in (word, word.title()) for form in (start, start + "'"))
    yield from ((piece,) for piece in (*WHOLE.split(), *FACES.split()))
    yield from (("°", unit, ".") for unit in "cfkCFK")


LONGEST = 12  # characters of the longest piece in the table; a test holds it to that
