"""Writes episodes in the formats of other people's programs, as those lay them out."""

import io
import json
import pickle

import h5py
import hdf5plugin
import numpy as np
import torch
from PIL import Image

from harness import zoo
from harness.data import collect
from harness.data.episodes import open_dataset

JPEG_QUALITY = 95  # stable-worldmodel's


def recorded(task, root, episodes=8, steps=30, size=32, **config):
    """A dataset of our own collector."""
    data = collect.DataConfig(episodes=episodes, max_steps=steps, image_size=size, **config)
    return open_dataset(collect.ensure(zoo.TASKS[task], data, str(root)))


def columns(task, episode):
    """The columns that stable-worldmodel has of an episode of ours, without pixels and action."""
    state = episode.state
    if task == "push_t":
        return {"state": state[:, :7].astype(np.float32), "proprio": episode.proprio}
    if task == "two_room":
        return {"pos_agent": episode.proprio, "proprio": episode.proprio}
    if task == "reacher":
        return {"qpos": state[:, :2], "qvel": state[:, 2:]}
    x, y, z, yaw = state[:, 41:45].T  # ogbench's observation (cube_env.compute_observation)
    cube = np.concatenate([(state[:, 14:17] - [0.425, 0, 0]) * 10, state[:, 17:21]], 1)
    numbers = [(x - 0.425) * 10, y * 10, z * 10, np.cos(yaw), np.sin(yaw), 0 * x, state[:, 45]]
    head = [state[:, :6], state[:, 21:27], np.stack(numbers, 1)]
    observation = np.concatenate([*head, cube, np.zeros((len(state), 2))], axis=1)
    return {"qpos": state[:, :21], "qvel": state[:, 21:41], "observation": observation}


def all_columns(task, dataset, nan_last):
    """Every episode as columns, pictures channel last; where `nan_last`, the last row has no
    action.
    """
    found = []
    for i in range(len(dataset.lengths)):
        episode = dataset.episode(i)
        action = episode.actions.copy()
        if nan_last:
            action[-1] = np.nan
        pixels = np.ascontiguousarray(episode.pixels.transpose(0, 2, 3, 1))
        found.append({"pixels": pixels, "action": action, **columns(task, episode)})
    return found


def blosc():
    """The filter of the released Push-T pictures."""
    return dict(hdf5plugin.Blosc(cname="lz4", shuffle=hdf5plugin.Blosc.SHUFFLE))


def hdf5(path, episodes, episode_column="episode_idx", offsets=True, **pixels):
    """stable-worldmodel's HDF5; `pixels` are h5py's words for that column."""
    lengths = [len(e["action"]) for e in episodes]
    with h5py.File(path, "w") as file:
        for name in episodes[0]:
            values = np.concatenate([e[name] for e in episodes])
            words = pixels if name == "pixels" else {}
            file.create_dataset(name, data=values, chunks=(1, *values.shape[1:]), **words)
        index = np.repeat(np.arange(len(lengths)), lengths)
        file.create_dataset(episode_column, data=index.astype(np.int32))
        file.create_dataset("step_idx", data=np.concatenate([np.arange(n) for n in lengths]))
        if offsets:
            file.create_dataset("ep_len", data=np.array(lengths, np.int32))
            file.create_dataset("ep_offset", data=np.cumsum(lengths) - lengths)
    return str(path)


def jpeg(picture, quality=JPEG_QUALITY):
    sink = io.BytesIO()
    Image.fromarray(picture).save(sink, format="JPEG", quality=quality)
    return sink.getvalue()


def lance_table(path, episodes):
    """stable-worldmodel's Lance table."""
    import lance
    import pyarrow as pa

    lengths = [len(e["action"]) for e in episodes]
    arrays = {"episode_idx": np.repeat(np.arange(len(lengths)), lengths).astype(np.int32)}
    arrays["step_idx"] = np.concatenate([np.arange(n) for n in lengths]).astype(np.int32)
    for name in episodes[0]:
        values = np.concatenate([e[name] for e in episodes])
        if name == "pixels":
            arrays[name] = pa.array([jpeg(picture) for picture in values], pa.binary())
        else:
            numbers = pa.array(values.astype(np.float32).reshape(-1))
            arrays[name] = pa.FixedSizeListArray.from_arrays(numbers, values.shape[1])
    lance.write_dataset(pa.table(arrays), str(path))
    return str(path)


def folder(path, episodes):
    """stable-worldmodel's folder."""
    (path / "pixels").mkdir(parents=True)
    lengths = np.array([len(e["action"]) for e in episodes], np.int32)
    np.savez(path / "ep_len.npz", lengths)
    np.savez(path / "ep_offset.npz", np.cumsum(lengths) - lengths)
    for name in episodes[0]:
        if name != "pixels":
            np.savez(path / f"{name}.npz", np.concatenate([e[name] for e in episodes]))
    for i, episode in enumerate(episodes):
        for step, picture in enumerate(episode["pixels"]):
            (path / "pixels" / f"ep_{i}_step_{step}.jpeg").write_bytes(jpeg(picture))
    return str(path)


def dino_wm(path, episodes):
    """One part of DINO-WM's Push-T folder."""
    import av

    (path / "obses").mkdir(parents=True)
    lengths = [len(e["action"]) for e in episodes]

    def padded(parts):
        out = torch.zeros(len(parts), max(lengths), parts[0].shape[1])
        for row, part in zip(out, parts, strict=True):
            row[: len(part)] = torch.from_numpy(part.astype(np.float32))
        return out

    torch.save(padded([e["state"][:, :5] for e in episodes]), path / "states.pth")
    torch.save(padded([e["state"][:, 5:] for e in episodes]), path / "velocities.pth")
    torch.save(padded([e["action"] * 100 for e in episodes]), path / "rel_actions.pth")
    (path / "seq_lengths.pkl").write_bytes(pickle.dumps(lengths))
    for i, episode in enumerate(episodes):
        with av.open(str(path / "obses" / f"episode_{i:03d}.mp4"), "w") as video:
            stream = video.add_stream("libx264", rate=10, options={"crf": "8"})
            stream.height, stream.width = episode["pixels"].shape[1:3]
            stream.pix_fmt = "yuv444p"
            for picture in episode["pixels"]:
                video.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            video.mux(stream.encode())
    return str(path)


def said(manifest):
    """A manifest as text, to search in."""
    return json.dumps(manifest.collector_parameters)
