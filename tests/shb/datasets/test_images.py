"""The image loaders on tiny file sets that the tests write in the published formats."""

import hashlib
import io
import pickle
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torchvision

from shb.datasets import check_files, images, load_dataset
from shb.errors import ConfigurationError


def idx_bytes(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def tiny_fashion():
    """File contents of 12 training and 5 test images of 28 x 28, and all images in order."""
    random = np.random.RandomState(0)
    pixels = random.randint(256, size=(17, 28, 28)).astype(np.uint8)
    labels = np.arange(17, dtype=np.uint8) % 10
    arrays = (pixels[:12], labels[:12], pixels[12:], labels[12:])
    return dict(zip(images.FILES["fashion_mnist"], map(idx_bytes, arrays))), pixels[:, None], labels


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes as Python 2 did, which pickled CIFAR-10: both are strings of bytes."""

    def save_string(self, value):
        content = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)

    dispatch = pickle._Pickler.dispatch | {str: save_string, bytes: save_string}


def python2_pickle(value):
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump(value)
    return buffer.getvalue()


def tiny_cifar():
    """The same for five batches of 3 training images and one batch of 4 test images of 3 x 32 x 32."""
    random = np.random.RandomState(0)
    pixels = random.randint(256, size=(19, 3, 32, 32)).astype(np.uint8)
    labels = np.arange(19) % 10
    contents = {}
    for number, file in enumerate(images.FILES["cifar10"]):
        rows = slice(3 * number, 3 * number + 3 if number < 5 else None)
        batch = {
            "batch_label": file,
            "labels": labels[rows].tolist(),
            "data": pixels[rows].reshape(-1, 3072),
            "filenames": [],
        }
        contents[file] = python2_pickle(batch)
    return contents, pixels, labels


def write(root, contents):
    for file, content in contents.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(content)


TINY = {"fashion_mnist": tiny_fashion, "cifar10": tiny_cifar}
ARCHIVE = torchvision.datasets.CIFAR10.filename  # of all files of CIFAR-10
on_both = pytest.mark.parametrize("name", TINY)


@pytest.fixture
def tiny(name, tmp_path, monkeypatch):
    """A complete tiny set in tmp_path whose MD5 the loader expects; gives (root, pixels, labels)."""
    contents, pixels, labels = TINY[name]()
    table = {file: hashlib.md5(content).hexdigest() for file, content in contents.items()}
    monkeypatch.setitem(images.FILES, name, table)
    monkeypatch.setattr(images, "VALIDATION_SIZE", 4)
    write(tmp_path, contents)
    return tmp_path, pixels, labels


@on_both
def test_images_labels_and_parts_are_read_in_order(name, tiny):
    root, pixels, labels = tiny
    check_files(name, root)
    data = load_dataset(name, root)
    test_size = 5 if name == "fashion_mnist" else 4
    sizes = [len(labels) - test_size - 4, 4, test_size]
    assert [len(part) for part in (data.train, data.validation, data.test)] == sizes
    x = np.concatenate([part.x for part in (data.train, data.validation, data.test)])
    y = np.concatenate([part.y for part in (data.train, data.validation, data.test)])
    train = pixels[: sizes[0]].astype(np.float64)
    mean, deviation = (moment((0, 2, 3), keepdims=True) for moment in (train.mean, train.std))
    np.testing.assert_allclose(x, (pixels - mean) / deviation, rtol=1e-5, atol=1e-6)
    assert y.tolist() == labels.tolist()
    assert load_dataset(name, root) is data


@on_both
def test_data_root_comes_from_the_environment_then_from_the_folder_data(name, tiny, tmp_path, monkeypatch):
    root, _, _ = tiny
    monkeypatch.setenv("SHB_DATA", str(root))
    assert load_dataset(name) is load_dataset(name, root)
    with pytest.raises(ConfigurationError, match="elsewhere"):
        load_dataset(name, tmp_path / "elsewhere")
    monkeypatch.delenv("SHB_DATA")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(tmp_path)
    assert load_dataset(name) is load_dataset(name, root)


@on_both
@pytest.mark.parametrize("function", [check_files, load_dataset])
def test_a_missing_file_is_named_with_the_remedy(name, tiny, function):
    root, _, _ = tiny
    path = root / list(images.FILES[name])[-1]
    path.unlink()
    with pytest.raises(ConfigurationError) as caught:
        function(name, root)
    assert caught.value.field == "data_root" and caught.value.value == path
    message = str(caught.value)
    assert "download=true" in message and "SHB_DATA" in message and "\n" not in message


@on_both
@pytest.mark.parametrize("function", [check_files, load_dataset])
@pytest.mark.parametrize("damage", ["flipped bit", "truncated"])
@pytest.mark.parametrize("position", [0, -1])
def test_a_damaged_file_is_named_with_both_md5(name, tiny, function, damage, position):
    root, _, _ = tiny
    file, expected = list(images.FILES[name].items())[position]
    content = bytearray((root / file).read_bytes())
    if damage == "truncated":
        content.pop()
    else:
        content[len(content) // 2] ^= 1
    (root / file).write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        function(name, root)
    message = str(caught.value)
    assert caught.value.value == root / file and "\n" not in message
    assert expected in message and hashlib.md5(content).hexdigest() in message


class Trap:
    """Unpickling this creates the file `marker`."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


@pytest.mark.parametrize("name", ["cifar10"])
def test_a_batch_with_another_md5_is_never_unpickled(name, tiny):
    root, _, _ = tiny
    marker = root / "executed"
    trap = pickle.dumps(Trap(marker))
    (root / "cifar-10-batches-py/data_batch_1").write_bytes(trap)
    for function in (load_dataset, check_files):
        with pytest.raises(ConfigurationError, match="MD5"):
            function(name, root)
    assert not marker.exists()
    pickle.loads(trap)  # the control: the trap works
    assert marker.exists()


@pytest.fixture
def fake_torchvision(name, monkeypatch):
    """In place of torchvision's downloader: it writes the tiny set and notes its calls."""
    calls, contents = [], TINY[name]()[0]

    def downloader(url, download_root, *, filename, md5):
        assert md5 and url.endswith(filename)
        calls.append(filename)
        time.sleep(0.02)
        own = {file: content for file, content in contents.items() if filename in (f"{Path(file).name}.gz", ARCHIVE)}
        write(Path(download_root), {f if filename == ARCHIVE else Path(f).name: c for f, c in own.items()})

    monkeypatch.setattr(torchvision.datasets.utils, "download_and_extract_archive", downloader)
    return calls


@on_both
def test_download_fills_in_missing_files_only_when_asked(name, tiny, fake_torchvision):
    root, _, labels = tiny
    first, *_, last = images.FILES[name]
    (root / last).unlink()
    kept = (root / first).stat().st_ino
    check_files(name, root, download=True)
    assert not fake_torchvision and not (root / last).exists()
    data = load_dataset(name, root, download=True)
    expected = [ARCHIVE if name == "cifar10" else f"{Path(last).name}.gz"]
    assert fake_torchvision == expected and (root / last).exists()
    assert sum(map(len, (data.train, data.validation, data.test))) == len(labels)
    assert (root / first).stat().st_ino == kept
    assert not list(root.glob("*download-*"))
    load_dataset(name, root, download=True)
    assert fake_torchvision == expected


@on_both
def test_processes_that_start_together_download_every_file_once(name, tiny, fake_torchvision):
    root, _, _ = tiny
    gone = list(images.FILES[name])[1:]
    for file in gone:
        (root / file).unlink()
    (root / f"download-{name}-of-a-killed-process").mkdir()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: images.download_missing(name, root), range(4)))
    assert fake_torchvision == ([ARCHIVE] if name == "cifar10" else [f"{Path(file).name}.gz" for file in gone])
    assert all((root / file).exists() for file in gone) and not list(root.glob("*download-*"))


@pytest.mark.parametrize("name", ["fashion_mnist"])
def test_what_was_downloaded_before_a_failure_stays(name, tiny, monkeypatch, fake_torchvision):
    root, _, _ = tiny
    first, second = list(images.FILES[name])[:2]
    fetch = torchvision.datasets.utils.download_and_extract_archive

    def broken(url, folder, **options):
        if Path(second).name in url:
            raise OSError("network is unreachable")
        fetch(url, folder, **options)

    monkeypatch.setattr(torchvision.datasets.utils, "download_and_extract_archive", broken)
    for file in (first, second):
        (root / file).unlink()
    with pytest.raises(ConfigurationError, match="network is unreachable"):
        load_dataset(name, root, download=True)
    assert (root / first).exists() and not (root / second).exists()


def test_another_mirror_is_tried(tmp_path, monkeypatch):
    tried = []

    def broken(url, folder, **options):
        tried.append(url)
        raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr(torchvision.datasets.utils, "download_and_extract_archive", broken)
    with pytest.raises(ConfigurationError, match="corrupted"):
        load_dataset("mnist", tmp_path, download=True)
    assert tried == [f"{mirror}train-images-idx3-ubyte.gz" for mirror in torchvision.datasets.MNIST.mirrors]


@on_both
def test_download_does_not_replace_a_damaged_file(name, tiny, fake_torchvision):
    root, _, _ = tiny
    (root / next(iter(images.FILES[name]))).write_bytes(b"damaged")
    for function in (check_files, load_dataset):
        with pytest.raises(ConfigurationError, match="delete it and set download=true"):
            function(name, root, download=True)
    assert not fake_torchvision


@pytest.mark.parametrize("error", [RuntimeError("Error downloading\nfile"), OSError("network is unreachable")])
def test_a_failed_download_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, error):
    def downloader(*arguments, **options):
        raise error

    monkeypatch.setattr(torchvision.datasets.utils, "download_and_extract_archive", downloader)
    with pytest.raises(ConfigurationError) as caught:
        load_dataset("mnist", tmp_path, download=True)
    message = str(caught.value)
    assert message.startswith(f"data_root={tmp_path}: ") and "\n" not in message
    assert str(error).split()[0] in message and not list(tmp_path.iterdir())


def test_tables_agree_with_torchvision():
    published = torchvision.datasets.CIFAR10
    expected = {f"{published.base_folder}/{file}": md5 for file, md5 in published.train_list + published.test_list}
    assert images.FILES["cifar10"] == expected
    for name in ("mnist", "fashion_mnist"):
        published = getattr(torchvision.datasets, images.TORCHVISION_CLASS[name])
        names = [f"{published.__name__}/raw/{file.removesuffix('.gz')}" for file, _ in published.resources]
        assert sorted(images.FILES[name]) == sorted(names)
