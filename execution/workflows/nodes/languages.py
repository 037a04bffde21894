"""The languages that a harvest knows: their names in fences, their files' suffix, and how they write a comment."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """One language; one without a comment form gets no header."""

    name: str
    suffix: str
    comment: str = ""
    aliases: frozenset[str] = frozenset()


LANGUAGES = {
    language.name: language
    for language in (
        Language(name="python", suffix=".py", comment="#", aliases=frozenset({"py", "python3", "py3"})),
        Language(name="javascript", suffix=".js", comment="//", aliases=frozenset({"js", "mjs", "cjs", "jsx", "node"})),
        Language(name="typescript", suffix=".ts", comment="//", aliases=frozenset({"ts", "mts", "cts"})),
        Language(name="tsx", suffix=".tsx", comment="//"),
        Language(name="sql", suffix=".sql", comment="--", aliases=frozenset({"postgresql", "postgres", "pgsql"})),
        Language(name="shell", suffix=".sh", comment="#", aliases=frozenset({"sh", "bash"})),
        Language(name="json", suffix=".json"),
        Language(name="yaml", suffix=".yaml", comment="#", aliases=frozenset({"yml"})),
        Language(name="toml", suffix=".toml", comment="#"),
    )
}
_BY_WORD = {word: language for language in LANGUAGES.values() for word in (language.name, *language.aliases)}


def named(word: str) -> Language | None:
    """Return the language that a fence's first word names."""
    return _BY_WORD.get(word.lower())
