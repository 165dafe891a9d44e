"""A folder in AD-NeRF's layout, written by hand: nothing of it passes through the code under test.

A white dot on black, at a known place of their world, drawn where their formula says: with R the
rotation and o the origin of transform_matrix, x = R^T (X - o), u = cx - f x / z, v = cy + f y / z.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image

SIZE, FOCAL, FRAMES = 64, 150.0, 11
# The tip of a nose, m, in the space of the Basel face model.
DOT_M = np.array([0.01, -0.02, 0.09])


def transform_matrix(index):
    """The camera 0.8 m in front, that swings around the head and shifts."""
    angle = 0.15 * np.sin(index)
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix = np.eye(4)
    matrix[:3, :3] = [[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]]
    matrix[:3, 3] = [0.8 * sine + 0.01, 0.02 * np.cos(index), 0.8 * cosine]
    return matrix


def place_of(matrix, point):
    """Their projection, written out. Continuous px."""
    x, y, z = matrix[:3, :3].T @ (point - matrix[:3, 3])
    return np.array([SIZE / 2 - FOCAL * x / z, SIZE / 2 + FOCAL * y / z])


def picture(index):
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    u, v = place_of(transform_matrix(index), DOT_M)
    dot = np.exp(-((x - u) ** 2 + (y - v) ** 2) / 4)
    return np.round(255 * np.repeat(dot[..., None], 3, axis=2)).astype(np.uint8)


def write_layout(folder: Path, *, frames=FRAMES, first=0) -> Path:
    """Transforms and pictures, which is all that is necessary; 10 of 11 frames for training."""
    (folder / "ori_imgs").mkdir(parents=True)
    ids = list(range(first, first + frames))
    for img_id in ids:
        Image.fromarray(picture(img_id)).save(folder / "ori_imgs" / f"{img_id}.png")
    cut = frames * 10 // 11
    write_transforms(folder, "train", ids[:cut])
    write_transforms(folder, "val", ids[cut:])
    return folder


def write_transforms(folder, part, ids, **camera):
    told = {"focal_len": FOCAL, "cx": SIZE / 2, "cy": SIZE / 2, **camera}
    told["frames"] = [
        {"img_id": i, "aud_id": i, "transform_matrix": transform_matrix(i).tolist()} for i in ids
    ]
    (folder / f"transforms_{part}.json").write_text(json.dumps(told))


def change_transforms(folder, change, part="train"):
    """Let `change` alter what a file says."""
    path = folder / f"transforms_{part}.json"
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))
