"""Files as they arrive in bad weather: cut off, with flipped bits, overwritten, or of another kind altogether."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st


def fuzz(max_examples: int):
    """The same examples in every run, each in the test's own folder."""
    return settings(
        max_examples=max_examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
    )


@st.composite
def damaged(draw, content: bytes) -> bytes:
    """A file that is not quite `content`; most damage is near its beginning, where headers are."""
    head = st.integers(0, min(len(content), 1500) - 1)
    anywhere = st.one_of(head, st.integers(0, len(content) - 1))
    kind = draw(st.sampled_from(["cut", "flipped", "overwritten", "foreign"]))
    if kind == "cut":
        return content[: draw(anywhere)]
    if kind == "foreign":
        return content[: draw(st.sampled_from([0, 4, 16]))] + draw(st.binary(min_size=1, max_size=200))
    spoiled = bytearray(content)
    if kind == "flipped":
        for place in draw(st.lists(anywhere, min_size=1, max_size=8)):
            spoiled[place] ^= 1 << draw(st.integers(0, 7))
    else:
        place = draw(anywhere)
        patch = draw(st.sampled_from([b"\xff", b"\x7f\xff\xff\xff", b"\xff" * 8, b"\0" * 4, b"9" * 9]))
        spoiled[place : place + len(patch)] = patch
    return bytes(spoiled)
