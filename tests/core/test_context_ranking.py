"""The signals that speak for a file, each alone, and their sum."""

import random

from hypothesis import given
from hypothesis import strategies as st

from cco_sidecar.core.context.project import Footprint
from cco_sidecar.core.context.query import query_of
from cco_sidecar.core.context.ranking import Liking, Ranking, rank
from cco_sidecar.core.context.terms import Terms, message_terms, terms_of

NONE = Liking({}, lambda path: f"{path} is liked")


def commit(name: str, *files: str, message: str = "") -> Footprint:
    return Footprint(name * 40, files, message_terms(message))


def order(ranking: Ranking) -> list[str]:
    return sorted(ranking.scores, key=lambda path: (-ranking.score(path), path))


def texts(**contents: str) -> dict[str, Terms]:
    return {path: terms_of(content) for path, content in contents.items()}


def test_rare_words_and_short_texts() -> None:
    """A rare word says more than a common one, and a short text with a word more than a long one."""
    documents = texts(a="common rare " + "other " * 500, b="common common", c="common", d="common rare")
    assert order(rank("abcd", query_of("common rare"), documents, (), NONE)) == ["d", "a", "b", "c"]


def test_words_of_a_text() -> None:
    """A standing names the words that were found, those first that say most."""
    documents = texts(a="retries the request", b="request", c="request", d="none")
    found = rank("abcd", query_of("request retry"), documents, (), NONE)
    assert found.reasons("a") == ["its text has retry, request"]
    assert order(found) == ["a", "b", "c"]


def test_paths() -> None:
    """A file is found by its path, more so by its name; and that needs no text."""
    found = rank(["src/bucket.py", "bucket/a.py", "b.py"], query_of("bucket"), {}, (), NONE)
    assert order(found) == ["src/bucket.py", "bucket/a.py"]


def test_message() -> None:
    """Files of commits that were about the same are wanted."""
    steps = [commit("1", "x"), commit("2", "a", "b", message="Fill the bucket"), commit("3", "d", message="the lid")]
    found = rank("abdx", query_of("bucket"), {}, steps, NONE)
    assert order(found) == ["a", "b", "x", "d"]
    assert found.reasons("a")[0] == "commit 2222222222 was about it"
    assert found.reasons("x") == ["changed in commit 1111111111"]


def test_recency_is_a_place() -> None:
    """The newer the last commit of a file, the better; gone files are not there."""
    steps = [commit("1", "b", "gone"), commit("2", "a"), commit("3", "b", "c")]
    assert order(rank("abc", query_of(""), {}, steps, NONE)) == ["b", "a", "c"]


def test_company() -> None:
    """What changes together with the best is wanted, and named by the history if that is no chance."""
    rest = [commit("9", other) for other in "pqrstuvwxyz"]
    steps = [commit("1", "z"), *rest, commit("2", "a", "b"), commit("3", "a", "b"), commit("4", "a", "c")]
    found = rank("abcpqrstuvwxyz", query_of("bucket"), texts(a="bucket"), steps, NONE)
    assert (found.is_named("b"), found.is_named("c"), found.is_named("z")) == (True, False, False)
    assert "changes together with a" in found.reasons("b")
    assert found.score("b") > found.score("c")


def test_company_is_told_by_rank() -> None:
    """Of files that it changed with equally often, the best is told."""
    found = rank("abc", query_of("bucket"), texts(b="bucket bucket", a="bucket"), [commit("1", "a", "b", "c")], NONE)
    assert "changes together with b" in found.reasons("c")


def test_company_of_the_faithful() -> None:
    """Who seldom changes but with one says more than one of very many who all change with a busy file."""
    busy = [commit(other, "busy", other) for other in "pqrstuvw"]
    steps = [*busy, commit("1", "busy", "x"), commit("2", "calm", "y")]
    found = rank(["busy", "calm", *"pqrstuvwxy"], query_of("bucket"), texts(busy="bucket", calm="bucket"), steps, NONE)
    assert found.score("y") > found.score("p") > found.score("x")


def test_wishes() -> None:
    """Without text the wish decides, with text it helps."""
    liked = Liking({"b": 1.0}, lambda path: f"{path} is liked")
    steps = [commit("1", "a")]
    assert order(rank("ab", query_of(""), {}, steps, liked)) == ["b", "a"]
    assert order(rank("ab", query_of("bucket"), texts(a="bucket"), steps, liked)) == ["a", "b"]
    assert rank("ab", query_of(""), {}, (), liked).reasons("b") == ["b is liked"]


WORDS = st.lists(st.sampled_from(["bucket", "leaky_refill", "parseHeader", "value", "the"]), max_size=8).map(" ".join)
NAMES = [f"src/{name}.py" for name in ("bucket", "header", "a", "b", "c")]


@given(
    st.dictionaries(st.sampled_from(NAMES), WORDS),
    st.lists(st.tuples(st.lists(st.sampled_from([*NAMES, "gone"]), max_size=4, unique=True), WORDS), max_size=8),
    WORDS,
    st.randoms(use_true_random=False),
)
def test_deterministic(
    contents: dict[str, str], history: list[tuple[list[str], str]], task: str, chance: random.Random
) -> None:
    """The order in which files are known or terms were read changes nothing, to the last bit."""
    steps = [commit(str(place), *files, message=message) for place, (files, message) in enumerate(history)]
    first = rank(NAMES, query_of(task), texts(**contents), steps, NONE)
    names = chance.sample(NAMES, len(NAMES))
    second = rank(
        names, query_of(task), texts(**dict(chance.sample(list(contents.items()), len(contents)))), steps, NONE
    )
    assert second.scores == first.scores
    assert all(score > 0 and first.reasons(path) for path, score in first.scores.items())
    for ask in (Ranking.reasons, Ranking.is_named):
        assert [ask(second, name) for name in NAMES] == [ask(first, name) for name in NAMES]
