"""Stage `torso`: the torso's own pose in every frame."""

import numpy as np

from sspnerf.prepare import torso as motion_of
from sspnerf.prepare.chunks import CHUNK_FRAMES
from sspnerf.prepare.found import Faces, Take, TorsoTrack, Track
from sspnerf.prepare.workspace import Stage, Workspace


def run(work: Workspace) -> TorsoTrack:
    """Align the torso's picture; where it cannot be, let it follow the head."""
    take, track = work.found(Take), work.found(Track)
    cuts = work.found(Faces).cuts
    poses = np.asarray(work.array("poses"), np.float64)
    done = iter(range(1, take.frames + 1))

    def on_frame() -> None:
        looked = next(done)
        if looked % CHUNK_FRAMES == 0:
            work.release()
        work.progress("torso", looked, take.frames)

    motion = motion_of.align_torso(
        work.array("frames"),
        motion_of.find_region(work.array("labels"), work.array("landmarks"), work.array("valid")),
        track.reference_frame,
        intrinsics=work.intrinsics,
        depth=motion_of.torso_depth(work.mesh().vertices, poses[track.reference_frame]),
        masks=work.array("mask"),
        cuts=cuts,
        on_frame=on_frame,
    )
    if motion is None:
        work.note_warning(
            "the torso cannot be aligned from frame to frame; its pose follows the head's by half"
        )
        confidence = np.zeros(take.frames)
        torso_poses = motion_of.unseen_torso_poses(poses, track.reference_frame, cuts=cuts)
    else:
        confidence = motion.confidence
        torso_poses = motion_of.torso_poses(motion, poses, cuts=cuts)
    work.writer.write_array("torso_poses", torso_poses)
    work.writer.write_array("torso_confidence", confidence)
    return TorsoTrack(
        is_seen=motion is not None, mean_confidence=round(float(confidence.mean()), 4)
    )


STAGE = Stage(
    run=run,
    found=TorsoTrack,
    needs=("decode", "landmarks", "tracking", "background", "parsing"),
    leaves=("torso_poses.npy", "torso_confidence.npy"),
    version=2,
)
