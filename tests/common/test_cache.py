import pytest

from common.cache import cached_json
from common.errors import UserError


def test_a_result_is_computed_once_for_the_same_parts(tmp_path):
    computed = []

    def result(*parts):
        return cached_json(tmp_path, parts, lambda: computed.append(parts) or {"score": 0.1 + 0.2})

    assert result(b"ab", b"c") == result(b"ab", b"c") == {"score": 0.1 + 0.2}
    # Neither the order nor the cuts between the parts are the same.
    result(b"c", b"ab")
    result(b"a", b"bc")
    assert computed == [(b"ab", b"c"), (b"c", b"ab"), (b"a", b"bc")]


def test_a_damaged_result_is_named_with_its_remedy(tmp_path):
    cached_json(tmp_path, [b"a"], dict)
    (path,) = tmp_path.iterdir()
    path.write_text("{")
    with pytest.raises(UserError, match=f"{path.name} is damaged: delete it"):
        cached_json(tmp_path, [b"a"], dict)
