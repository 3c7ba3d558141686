"""Shards written by hand, as another version of the code or another machine would."""

import hashlib
import io


def write_shard(folder, frame):
    """Write `frame` to `folder` under the name that the store expects; returns the path."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(buffer.getvalue()).hexdigest()[:32]}.parquet"
    path.write_bytes(buffer.getvalue())
    return path
