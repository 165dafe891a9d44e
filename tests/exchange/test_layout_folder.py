"""What a layout must hold: everything else is refused in one line that says what to do."""

import json

import numpy as np
import pytest
from PIL import Image

import written_layout
from sspnerf.errors import MediaError
from sspnerf.exchange.layout_folder import open_layout
from sspnerf.exchange.parts import Part, write_parts
from written_layout import SIZE, change_transforms, write_layout, write_transforms


def nothing(line):
    raise AssertionError(line)


@pytest.fixture
def layout(tmp_path):
    return write_layout(tmp_path / "obama")


def test_pictures_and_cameras_are_read_in_order(layout):
    opened = open_layout(layout, nothing)
    assert opened.ids == range(11)
    assert (opened.width, opened.height) == (SIZE, SIZE)
    assert opened.intrinsics.fx == written_layout.FOCAL
    assert [picture.is_held_out for picture in opened.transforms.pictures] == [False] * 10 + [True]
    np.testing.assert_array_equal(opened.named[4].matrix, written_layout.transform_matrix(4))
    np.testing.assert_array_equal(opened.picture(4), written_layout.picture(4))
    assert opened.parts(4) is None
    assert opened.background() is None


def test_frames_that_lost_their_face_are_kept_as_gaps(layout):
    change_transforms(layout, lambda told: told["frames"].pop(3))
    (layout / "ori_imgs" / "3.png").unlink()
    told = []
    opened = open_layout(layout, told.append)
    assert told == ["1 of 11 frames have no transform_matrix; interpolated there"]
    assert opened.ids == range(11)
    assert 3 not in opened.named
    np.testing.assert_array_equal(opened.picture(3), written_layout.picture(2))


def test_a_take_may_begin_later(tmp_path):
    assert open_layout(write_layout(tmp_path / "late", first=7), nothing).ids == range(7, 18)


def test_pictures_with_the_background_pasted_in_will_do(layout):
    (layout / "ori_imgs").rename(layout / "gt_imgs")
    told = []
    assert open_layout(layout, told.append).pictures.name == "gt_imgs"
    assert told == [f"{layout} has no ori_imgs; gt_imgs are used, with bc pasted in"]


def test_a_layout_without_held_out_frames_is_told_of(layout):
    (layout / "transforms_val.json").unlink()
    told = []
    assert len(open_layout(layout, told.append).ids) == 10
    assert "has no transforms_val.json" in told[0]


def test_held_out_frames_in_the_middle_and_doubles_are_told_of(layout):
    write_transforms(layout, "val", [4, 10])
    told = []
    opened = open_layout(layout, told.append)
    assert told == ["transforms_val.json names picture 4 once more; the first counts"]
    assert len(opened.transforms.pictures) == 11
    change_transforms(layout, lambda told: told["frames"].pop(4))
    told.clear()
    open_layout(layout, told.append)
    assert "held-out frames lie between frames for training" in told[0]


def remove(name):
    return lambda layout: (layout / name).unlink()


def changed(change, part="train"):
    return lambda layout: change_transforms(layout, change, part)


def with_matrix(row, column, value):
    def change(told):
        told["frames"][2]["transform_matrix"][row][column] = value

    return changed(change)


def resized(name, size):
    return lambda layout: Image.new("RGB", size).save(layout / name)


def without_pictures(layout):
    (layout / "ori_imgs").rename(layout / "torso_imgs")


def write(name, text):
    return lambda layout: (layout / name).write_text(text)


BROKEN = {
    "no transforms": (remove("transforms_train.json"), "has no transforms_train.json"),
    "broken JSON": (
        write("transforms_train.json", '{"frames": ['), r"transforms_train\.json is damaged: "
    ),
    "no frames": (changed(lambda told: told.pop("frames")), "has no list `frames`"),
    "empty": (changed(lambda told: told.update(frames=[])), "names no frames"),
    "no focal length": (changed(lambda told: told.pop("focal_len")), "has no focal_len, cx and cy"),
    "negative focal length": (changed(lambda told: told.update(focal_len=-3)), "focal_len -3"),
    "no img_id": (changed(lambda told: told["frames"][0].pop("img_id")), "lacks img_id"),
    "two cameras": (changed(lambda told: told.update(focal_len=99), "val"), "different cameras"),
    "NaN matrix": (with_matrix(0, 3, float("nan")), "of picture 2 holds NaN or infinity"),
    "no rotation": (with_matrix(0, 0, 3.0), "of picture 2 is no rigid motion"),
    "words": (with_matrix(0, 0, "one"), "lacks img_id or a transform_matrix of numbers"),
    "mirror": (
        changed(lambda told: [
            row.__setitem__(0, -row[0]) for row in told["frames"][2]["transform_matrix"][:3]
        ]),
        r"of picture 2 is no rigid motion \(off by .*, determinant -1\)",
    ),
    "3 x 4 matrix": (
        changed(lambda told: told["frames"][1]["transform_matrix"].pop()),
        r"of picture 1 has shape \(3, 4\); expected \(4, 4\)",
    ),
    "missing picture": (remove("ori_imgs/5.png"), "names picture 5, and ori_imgs has none"),
    "no pictures": (without_pictures, "has none of ori_imgs.*; torso_imgs show parts of"),
    "sizes": (resized("ori_imgs/5.png", (32, 32)), r"5\.png is 32 x 32 px and others are 64 x 64"),
    "no picture file": (write("ori_imgs/5.png", "none"), r"5\.png cannot be read"),
    "scattered": (
        lambda layout: write_transforms(layout, "val", [10, 5000]), "spread over 5001 frames"
    ),
    "other size": (
        lambda layout: [
            change_transforms(layout, lambda told: told.update(cx=225.0, cy=225.0), part)
            for part in ("train", "val")
        ],
        "are for pictures of 450 x 450 px, and the pictures are 64 x 64",
    ),
}  # fmt: skip


@pytest.mark.refuses
@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_layout_is_refused(layout, case):
    break_it, message = BROKEN[case]
    break_it(layout)
    with pytest.raises(MediaError, match=message) as refused:
        open_layout(layout, lambda _: None)
    assert "\n" not in str(refused.value)
    assert str(layout) in str(refused.value)


@pytest.mark.refuses
def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MediaError, match="nowhere does not exist"):
        open_layout(tmp_path / "nowhere", nothing)


@pytest.mark.refuses
def test_parsing_and_background_of_another_size_are_refused(layout):
    opened = open_layout(layout, nothing)
    (layout / "parsing").mkdir()
    write_parts(layout / "parsing" / "0.png", np.full((8, 8), Part.HEAD, np.uint8))
    with pytest.raises(MediaError, match=r"0\.png is 8 x 8 px; expected 64 x 64"):
        opened.parts(0)
    Image.new("RGB", (20, 30)).save(layout / "bc.jpg")
    with pytest.raises(MediaError, match=r"bc\.jpg is 20 x 30 px; expected 64 x 64"):
        opened.background()


def test_a_picture_without_parsing_has_that_of_the_one_before(layout):
    (layout / "parsing").mkdir()
    for img_id, part in ((2, Part.HEAD), (5, Part.TORSO)):
        write_parts(layout / "parsing" / f"{img_id}.png", np.full((SIZE, SIZE), part, np.uint8))
    opened = open_layout(layout, nothing)
    shown = [int(opened.parts(img_id)[0, 0]) for img_id in (0, 2, 4, 5, 9)]
    assert shown == [Part.HEAD, Part.HEAD, Part.HEAD, Part.TORSO, Part.TORSO]


def test_a_size_that_is_told_must_be_the_pictures(layout):
    for part in ("train", "val"):
        told = json.loads((layout / f"transforms_{part}.json").read_text())
        told |= {"w": SIZE, "h": SIZE, "cx": 20.0}
        (layout / f"transforms_{part}.json").write_text(json.dumps(told))
    assert open_layout(layout, nothing).intrinsics.cx == 20.0
