"""Python source with its comments, strings and keywords marked."""

from __future__ import annotations

import io
import keyword
import tokenize

from markupsafe import Markup, escape

QUOTED = {tokenize.STRING} | {
    kind for name, kind in vars(tokenize).items() if name in {"FSTRING_START", "FSTRING_MIDDLE", "FSTRING_END"}
}


def highlighted(source: str) -> Markup:
    """`source` as HTML; plain where it does not read as Python."""
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (tokenize.TokenError, SyntaxError):
        return escape(source)
    starts = [0]
    for one in io.StringIO(source):
        starts.append(starts[-1] + len(one))
    parts, done = [], 0
    for token in tokens:
        style = _style(token)
        if style is None:
            continue
        start, end = (starts[row - 1] + column for row, column in (token.start, token.end))
        start = max(start, done)  # Python 3.12 misplaces doubled braces
        parts += [escape(source[done:start]), Markup('<span class="{}">{}</span>').format(style, source[start:end])]
        done = end
    return Markup("").join([*parts, escape(source[done:])])


def _style(token: tokenize.TokenInfo) -> str | None:
    if token.type == tokenize.COMMENT:
        return "code-comment"
    if token.type in QUOTED:
        return "code-string"
    return "code-keyword" if token.type == tokenize.NAME and keyword.iskeyword(token.string) else None
