"""English words are those of spaCy's blank pipeline."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.text.filters import english
from danlu.text.filters.contractions import exceptions
from danlu.text.filters.english import cut

# What spaCy 3.8.18, spacy.blank("en"), made of these pieces, which were written to touch its every rule. A piece is its
# words without the single spaces; pieces stand three spaces apart.
GOLDEN = r"""
    do n't   ca n't   can not   do nt   I 'm   I m   it 's   its   he 'd 've   we d   who 'll   y' all   o'clock
    rock'n'roll   goin'   'em   ' tis   Mr.   Mr. Smith   Dr. 's   U.S.   U.S.A.   U.S. ,   e.g.   ( e.g. ,
    i.e. ,   vs.   a.m.   5 p.m.   5 pm   12:30pm   " Hello , "   ( " quoted " ) ,   ' single '   [ 12 ]
    end ) .   stop ! ?   wait ...   ... and   .. x ..   a ... b   … so   … … end   well - known
    state - of - the - art   2020 - 2021   x -- y   x --- y   a-1   1 - a   10 - 20   3.14   1,000   a , b
    A , b   and/or   and/or / not   km / h   5 km   16 GB   3.5 %   $ 5   US$ 5   5 US$   5 €   € 5   20 ° C .
    30 ° F   a = b   x==y   a : b   a:1   1 : a   < b > bold</b >   https://example.com/a?b=c
    http://127.0.0.1 / x   www.example.com   user@example.org   me@x   foo.bar   foo . Bar   foo.bar ( )
    end . Start   U.K.Then   192.168.0.1   8.8.8.8:80/path   1.2.3   :)   :-)   :-))   (:   <3   >.<   ( o_o )
    xD   8)   x :)   :) x   ^_^   C++   c++ .   C #   # tag   @name   a_b   _ _ init _ _   * args   * * kw   -x
    --flag   +1   + a   5 +   5 + 5   a+b   ~x   a ~ b   x²   m²   5 m²   naïve   café 's   do n’t   it ’s
    “ quoted ”   ‘s   dogs '   'S   's   d.   i d.   i m.   B.   AB .   aB.   ABc .   Ⅷ   中文，世界 。
    （ 括号 ）   你好。world   世界cup   © 2020   a © b   ☃   snow ☃ man   🙂   a 🙂 b   \")   <space>   ''   " "
    * *   ( ) [ ]   ...   ..   .   ,   -   --   —   a — b   – x   Jan.   may .   May .   Co. ,   Inc. )
    Ph . D.s   let 's   Let ’s   gon na   got ta   wanna   nothin   nothin'   10 am   10 a.m.   1990s   ' 90s
    5 's   x 's 's   ( x 's )   " do n't "   do n't .   ( ca n't )   what's - his - name   1/2   a / b   1 / a
    a/1   = a   a=   % x   x%   5 % .   x|y   |x|   tel:555   A&B   & amp ;   x;y   x ;   ° C   ° c .
"""
PIECES = [piece.strip() for line in GOLDEN.splitlines() for piece in line.split("   ") if piece.strip()]

MARKS = "'\"().,:;!?-_/=<>$%+*&@#~^|\\[]{}…“”’‘—–°²€é中。（☃"
marks = st.sampled_from([*MARKS, "..", "Mr.", "don't", "5km", "a.m.", "US$"])
letters = st.sampled_from(["a", "B", "word", "Word", "AB", "7", "42", "x1", "s", "S", "ñ", "文"])
made = st.lists(st.one_of(marks, letters), min_size=1, max_size=8).map("".join)


@pytest.mark.parametrize("words", PIECES)
def test_cuts_where_spacy_cuts(words: str) -> None:
    assert " ".join(cut(words.replace(" ", ""))) == words


@settings(max_examples=500, deadline=None)
@given(st.one_of(made, st.text(min_size=1, max_size=30)))
def test_words_joined_are_the_piece(text: str) -> None:
    for piece in text.split():
        assert "".join(cut(piece)) == piece
        assert all(cut(piece))


@settings(max_examples=1000, deadline=None)
@given(made)
def test_the_fast_way_gives_what_the_slow_way_gives(piece: str) -> None:
    """`_simple` may decline, but where it answers it agrees with the rules one by one; so do the plain words."""
    known = exceptions()
    slow = english._joined(english._cut(piece, known)) if piece not in known else known[piece]
    simple = english._simple(piece, known) if piece.isascii() and piece not in known else None
    assert simple is None or english._joined(simple) == slow
    assert cut(piece) == slow


def test_long_pieces_take_time_in_proportion() -> None:
    """A megabyte of one kind of mark would take hours where the rest is searched again after each."""
    for unit in ("(", ".", "a@", "a.", "-a", "'s", "5", "……", "。"):
        piece = unit * (200_000 // len(unit))
        assert "".join(cut(piece)) == piece
