from pathlib import Path

import pytest

from common.cli import check_png
from common.errors import UserError

pytestmark = pytest.mark.no_backend


def test_a_picture_without_a_place_is_refused_before_any_work(tmp_path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    for name, message in (
        ("x.jpg", "must end in .png"),
        ("folder.png", "is a folder"),
        ("file/x.png", "cannot be written to .*file"),
    ):
        with pytest.raises(UserError, match=f"--picture .*{name}.*{message}"):
            check_png(tmp_path / name)
    for picture in (None, Path("x.png"), tmp_path / "new" / "folder" / "x.PNG"):
        check_png(picture)
    assert not (tmp_path / "new").exists()
