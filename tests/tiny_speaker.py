"""An analytic speaker of 48 x 48 px: ellipsoid head, mouth box that opens with loudness, box torso.

Everything about it is known exactly. Rays are met with quadrics and slabs in float64; nothing here
uses the code under test except for writing the clip.
"""

import json
import shutil
from pathlib import Path

import numpy as np

from sspnerf.data.clip import Clip, open_clip
from sspnerf.data.clip_writer import ClipWriter
from sspnerf.data.manifest import Camera, ClipManifest, SpeechFeature
from sspnerf.data.semantics import SemanticClass
from sspnerf.geometry.face_mesh import FaceMesh
from sspnerf.media.speech import LOG_MEL_DIM, LOG_MEL_RATE_HZ, SPEECH_SAMPLE_RATE_HZ, log_mel

FRAMES, SIZE, FRAME_RATE_HZ = 12, 48, 25.0
FOCAL_PX, CAMERA_DISTANCE_CM = 80.0, 60.0
HEAD_CENTER, HEAD_RADII = np.array([0.0, 0.0, -2.0]), np.array([7.0, 9.5, 8.0])
# The torso's front lies within 4 cm of the face's surface, continued: inside the band of samples.
TORSO_LOW, TORSO_HIGH = np.array([-14.0, -40.0, -12.0]), np.array([14.0, -11.0, -2.0])
MOUTH_HEIGHT_CM, MOUTH_HALF_WIDTH_CM = -5.0, 2.5
TORSO_SHARE = 0.4
BLINKS = (5,)

COLORS = {
    SemanticClass.SKIN: (0.85, 0.65, 0.52),
    SemanticClass.EYE: (0.15, 0.25, 0.45),
    SemanticClass.NOSE: (0.80, 0.55, 0.45),
    SemanticClass.MOUTH_INTERIOR: (0.25, 0.03, 0.05),
    SemanticClass.LIP: (0.75, 0.30, 0.32),
    SemanticClass.HAIR: (0.25, 0.16, 0.10),
    SemanticClass.TORSO: (0.15, 0.30, 0.60),
}


def loudness(time_s):
    """How loud the speaker is, [0, 1]: two syllables in half a second."""
    return np.sin(2 * np.pi * time_s / 0.48) ** 2


def waveform():
    samples = round(FRAMES / FRAME_RATE_HZ * SPEECH_SAMPLE_RATE_HZ)
    time_s = np.arange(samples) / SPEECH_SAMPLE_RATE_HZ
    voice = sum(np.sin(2 * np.pi * 180 * k * time_s) / k for k in range(1, 9))
    return (0.3 * loudness(time_s) * voice).astype(np.float32)


def motion(angle, shift):
    """Turn about the vertical axis, radians, and shift sideways, cm."""
    cosine, sine = np.cos(angle), np.sin(angle)
    moved = np.eye(4)
    moved[:3, :3] = [[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]]
    moved[0, 3] = shift
    return moved


def camera_poses():
    """camera_to_world of all frames as the head and as the torso see it; equal in frame 0."""
    base = np.diag([1.0, -1.0, -1.0, 1.0])
    base[:3, 3] = [0.0, -4.0, CAMERA_DISTANCE_CM]
    phase = 2 * np.pi * np.arange(FRAMES) / FRAMES
    head = [np.linalg.inv(motion(0.12 * np.sin(p), 0.6 * np.sin(p))) @ base for p in phase]
    torso = [
        np.linalg.inv(motion(TORSO_SHARE * 0.12 * np.sin(p), TORSO_SHARE * 0.6 * np.sin(p))) @ base
        for p in phase
    ]
    return np.array(head, dtype=np.float32), np.array(torso, dtype=np.float32)


def rays_of(camera_to_world):
    """Rays through all pixels: origin (3,) and unit directions (height, width, 3)."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    in_camera = np.stack(
        ((x - SIZE / 2) / FOCAL_PX, (y - SIZE / 2) / FOCAL_PX, np.ones_like(x)), axis=-1
    )
    in_camera /= np.linalg.norm(in_camera, axis=-1, keepdims=True)
    pose = camera_to_world.astype(np.float64)
    return pose[:3, 3], in_camera @ pose[:3, :3].T


def meet_ellipsoid(origin, direction):
    """Distance to the head, or infinity."""
    start, way = (origin - HEAD_CENTER) / HEAD_RADII, direction / HEAD_RADII
    a, b, c = (way**2).sum(-1), (way * start).sum(-1), (start**2).sum() - 1
    root = b * b - a * c
    return np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf)


def meet_box(origin, direction):
    """Distance to the torso, or infinity."""
    with np.errstate(divide="ignore"):
        low, high = (TORSO_LOW - origin) / direction, (TORSO_HIGH - origin) / direction
    enter, leave = np.minimum(low, high).max(-1), np.maximum(low, high).min(-1)
    return np.where(enter < leave, enter, np.inf)


def label_head(position, opening):
    """Name what the head shows at canonical positions; later names cover earlier ones."""
    x, y = position[..., 0], position[..., 1]
    label = np.full(x.shape, SemanticClass.SKIN, dtype=np.uint8)
    label[y > 5.5] = SemanticClass.HAIR
    label[(np.abs(x) < 1) & (np.abs(y + 0.5) < 1.6)] = SemanticClass.NOSE
    label[(np.abs(np.abs(x) - 3) < 1.1) & (np.abs(y - 2.5) < 0.8)] = SemanticClass.EYE
    across, up = np.abs(x) - MOUTH_HALF_WIDTH_CM, np.abs(y - MOUTH_HEIGHT_CM) - 1.5 * opening
    label[(across < 0.8) & (up < 0.8)] = SemanticClass.LIP
    label[(across < 0) & (up < 0)] = SemanticClass.MOUTH_INTERIOR
    return label


def picture(pose, torso_pose, opening, *, blinks):
    """Trace one frame: color uint8, labels, distance to the person in cm (0 where none is)."""
    origin, direction = rays_of(pose)
    torso_origin, torso_direction = rays_of(torso_pose)
    head, torso = meet_ellipsoid(origin, direction), meet_box(torso_origin, torso_direction)
    distance = np.minimum(head, torso)
    is_person, is_head = np.isfinite(distance), head < torso
    t = np.where(is_person, distance, 0)[..., None]
    position = np.where(
        is_head[..., None], origin + t * direction, torso_origin + t * torso_direction
    )
    labels = np.where(is_head, label_head(position, opening), SemanticClass.TORSO).astype(np.uint8)
    labels[~is_person] = SemanticClass.BACKGROUND
    color = background() / 255.0
    for label, value in COLORS.items():
        shown = SemanticClass.SKIN if blinks and label == SemanticClass.EYE else label
        color[labels == label] = COLORS[shown] if shown != label else value
    shade = 0.9 + 0.1 * np.sin(position[..., :1]) * np.cos(position[..., 1:2])
    color = np.where(is_person[..., None], color * shade, color)
    return (color * 255).round().astype(np.uint8), labels, t[..., 0].astype(np.float32)


def background():
    across = np.linspace(150, 220, SIZE)
    return np.broadcast_to(
        np.stack((across, across[::-1], np.full(SIZE, 190.0)), axis=-1), (SIZE, SIZE, 3)
    ).astype(np.uint8)


def face_mesh():
    """The front of the face as a grid of 9 x 9 corners on the ellipsoid."""
    y, x = np.meshgrid(np.linspace(-8, 5, 9), np.linspace(-5, 5, 9), indexing="ij")
    inside = 1 - (x / HEAD_RADII[0]) ** 2 - (y / HEAD_RADII[1]) ** 2
    z = HEAD_CENTER[2] + HEAD_RADII[2] * np.sqrt(np.maximum(inside, 0))
    corner = np.arange(81).reshape(9, 9)
    a, b, c, d = corner[:-1, :-1], corner[:-1, 1:], corner[1:, :-1], corner[1:, 1:]
    triangles = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, c), (b, d, c))])
    return FaceMesh(
        vertices=np.stack((x, y, z), axis=-1).reshape(-1, 3).astype(np.float32),
        triangles=triangles.astype(np.int32),
    )


def project(pose, points):
    """Pixel coordinates of world points, z as 0. Shape (points, 3)."""
    in_camera = (points - pose[:3, 3]) @ pose[:3, :3]
    xy = FOCAL_PX * in_camera[:, :2] / in_camera[:, 2:] + SIZE / 2
    return np.concatenate((xy, np.zeros((len(points), 1))), axis=1)


def write_tiny_clip(path: Path) -> Clip:
    """Write the speaker as a clip; truth: mouth opening (frames,) and distance, cm."""
    poses, torso_poses = camera_poses()
    opening = loudness((np.arange(FRAMES) + 0.5) / FRAME_RATE_HZ)
    shown = [
        picture(poses[i], torso_poses[i], opening[i], blinks=i in BLINKS) for i in range(FRAMES)
    ]
    frames, labels, distances = (np.stack(part) for part in zip(*shown, strict=True))
    blendshapes = np.zeros((FRAMES, 52), dtype=np.float32)
    blendshapes[list(BLINKS), 9:11] = 1.0
    mesh, sound = face_mesh(), waveform()
    with ClipWriter(path) as writer:
        writer.write_array("frames", frames)
        writer.write_array("labels", labels)
        writer.write_array("mask", np.where(labels != SemanticClass.BACKGROUND, 255, 0))
        writer.write_array("landmarks", np.stack([project(p, mesh.vertices) for p in poses]))
        writer.write_array("poses", poses)
        writer.write_array("torso_poses", torso_poses)
        writer.write_array("blendshapes", blendshapes)
        writer.write_array("valid", np.ones(FRAMES, dtype=bool))
        writer.write_array("torso_confidence", np.linspace(0.5, 1, FRAMES))
        writer.write_mesh(mesh)
        writer.write_background(background())
        writer.write_speech(sound)
        writer.write_feature("logmel", log_mel(sound))
        writer.write_truth("mouth", opening)
        writer.write_truth("distance", distances)
        return writer.commit(
            ClipManifest(
                source="tiny",
                frame_rate_hz=FRAME_RATE_HZ,
                frames=FRAMES,
                width=SIZE,
                height=SIZE,
                camera=Camera(fx=FOCAL_PX, fy=FOCAL_PX, cx=SIZE / 2, cy=SIZE / 2),
                landmark_scheme="mesh",
                reference_frame=0,
                has_speech=True,
                features={"logmel": SpeechFeature(rate_hz=LOG_MEL_RATE_HZ, dim=LOG_MEL_DIM)},
                licence="made by the tests",
            )
        )


def with_changes(clip: Clip, path: Path, *, manifest=None, **arrays) -> Clip:
    """Copy a clip; some of its arrays and some of what its manifest says are others."""
    shutil.copytree(clip.path, path)
    for name, array in arrays.items():
        file = path / f"{name}.npy"
        np.save(file, np.asarray(array, dtype=np.load(file, mmap_mode="r").dtype))
    told = json.loads((path / "clip.json").read_text()) | (manifest or {})
    (path / "clip.json").write_text(json.dumps(told))
    return open_clip(path)
