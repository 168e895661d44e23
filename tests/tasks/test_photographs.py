"""Published formats are read as other programs write them; a network is torchvision's."""

import gzip
import hashlib
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import mcu_lite as mcu
from mcu_lite.book.evidence import on_photographs
from mcu_lite.tasks import archives as formats
from mcu_lite.tasks.photographs import RECIPES, as_task, crop_and_flip

torchvision = pytest.importorskip("torchvision")
rng = np.random.default_rng(0)


def test_a_home_is_needed_only_where_no_folder_is_given(tmp_path, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.delenv("MCU_LITE_DATA", raising=False)
    assert formats.data_folder(tmp_path) == tmp_path
    with pytest.raises(RuntimeError):
        formats.data_folder()
    monkeypatch.setenv("MCU_LITE_DATA", str(tmp_path))
    assert formats.data_folder() == tmp_path


def records(number, before, classes):
    """CIFAR's binary form, with the images and classes in it."""
    lines = rng.integers(0, 256, (number, before + 3072), dtype=np.uint8)
    lines[:, before - 1] = np.arange(number) % classes
    return lines


@pytest.fixture
def cifar_folder(tmp_path):
    """Both data sets in their published form, small."""
    within = tmp_path / "cifar-10-batches-bin"
    within.mkdir()
    written = {}
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        written[name] = records(20, 1, 10)
        (within / f"{name}.bin").write_bytes(written[name].tobytes())
    (tmp_path / "cifar-100-binary").mkdir()
    for name in ("train", "test"):
        written[name] = records(200, 2, 100)
        (tmp_path / "cifar-100-binary" / f"{name}.bin").write_bytes(written[name].tobytes())
    return tmp_path, written


def pixels(task, i):
    """A pool's image in 0..255, up to a factor and a constant for each channel."""
    return task.inputs[i].flatten(1).numpy()


def test_cifar_10_is_read_as_it_is_published(cifar_folder):
    folder, written = cifar_folder
    task = mcu.load_task("cifar10", seeds=2, folder=folder)
    assert task.inputs.shape == (120, 3, 32, 32) and task.classes == 10
    assert task.retain.shape == (2, 90) and task.forget.shape == (2, 10)
    assert task.test.tolist() == [list(range(100, 120))] * 2
    line = written["data_batch_3"][7]
    assert task.truth[47] == line[0]
    for own, channel in zip(pixels(task, 47), line[1:].reshape(3, -1)):
        assert np.corrcoef(own, channel)[0, 1] == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(task.inputs[:100].mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)


def test_cifar_100_has_the_fine_classes(cifar_folder):
    folder, written = cifar_folder
    task = mcu.load_task("cifar100", seeds=1, folder=folder, forget_class=7)
    assert task.truth.tolist() == [*written["train"][:, 1], *written["test"][:, 1]]
    assert (task.truth[task.forget] == 7).all() and not (task.truth[task.retain] == 7).any()


def test_cifar_arrives_as_an_archive_that_is_checked(cifar_folder, tmp_path, monkeypatch):
    folder, _ = cifar_folder
    archive = tmp_path / "published" / "cifar-10-binary.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as made:
        made.add(folder / "cifar-10-batches-bin", "cifar-10-batches-bin")
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", (archive.parent / "x").as_uri())
    with pytest.raises(ValueError, match="c32a1d4ab5d03f1284b67883e8d87530 was published"):
        mcu.load_task("cifar10", seeds=1, folder=tmp_path / "elsewhere")
    whole = archive.read_bytes()
    for content in (whole[: len(whole) // 2], whole):  # The first was published cut off.
        archive.write_bytes(content)
        (tmp_path / "elsewhere" / archive.name).unlink(missing_ok=True)
        digest = f"md5:{hashlib.md5(content).hexdigest()}"
        monkeypatch.setitem(formats.BINARY, "cifar10", (archive.name, digest))
        if content != whole:
            with pytest.raises(ValueError, match="cifar-10-binary.tar.gz is not unpacked"):
                mcu.load_task("cifar10", seeds=1, folder=tmp_path / "elsewhere")
    task = mcu.load_task("cifar10", seeds=1, folder=tmp_path / "elsewhere")
    expected = mcu.load_task("cifar10", seeds=1, folder=folder)
    assert torch.equal(task.inputs, expected.inputs)


def test_without_network_it_says_what_to_copy_where(tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", (tmp_path / "none" / "x").as_uri())
    with pytest.raises(ValueError, match="cifar-10-binary.tar.gz cannot be downloaded.*copy it"):
        mcu.load_task("cifar10", seeds=1, folder=tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "0 bytes"), (bytes(3000), "3000 bytes"), (b"\x0b" + bytes(3072), "class beyond 0..9")],
)
def test_a_damaged_batch_is_named(cifar_folder, content, says):
    folder, _ = cifar_folder
    (folder / "cifar-10-batches-bin" / "data_batch_2.bin").write_bytes(content)
    with pytest.raises(ValueError, match=f"data_batch_2.bin has .*{says}"):
        mcu.load_task("cifar10", seeds=1, folder=folder)
    (folder / "cifar-10-batches-bin" / "data_batch_2.bin").unlink()
    with pytest.raises(ValueError, match="data_batch_2.bin cannot be read"):
        mcu.load_task("cifar10", seeds=1, folder=folder)


def idx(values):
    head = bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    return gzip.compress(head + values.tobytes())


@pytest.fixture
def fashion(tmp_path, monkeypatch):
    values = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((60, 28, 28), (20, 28, 28))]
    classes = [np.arange(n, dtype=np.uint8) % 10 for n in (60, 20)]
    made = [idx(v) for pair in zip(values, classes) for v in pair]
    own = torchvision.datasets.FashionMNIST
    names = [name for name, _ in own.resources]
    (tmp_path / "fashion-mnist").mkdir()
    for name, content in zip(names, made):
        (tmp_path / "fashion-mnist" / name).write_bytes(content)
    digests = [hashlib.md5(content).hexdigest() for content in made]
    monkeypatch.setattr(own, "resources", list(zip(names, digests)))
    return tmp_path, values, names


def test_fashion_mnist_is_read_as_torchvision_reads_it(fashion):
    folder, values, names = fashion
    task = mcu.load_task("fashion_mnist", seeds=1, folder=folder)
    raw = folder / "fashion-mnist" / names[0]
    raw.with_suffix("").write_bytes(gzip.decompress(raw.read_bytes()))
    theirs = torchvision.datasets.mnist.read_image_file(str(raw.with_suffix("")))
    assert task.inputs.shape == (80, 1, 28, 28) and task.truth[13] == 3
    mean, sd = theirs.float().mean(), theirs.float().std()
    torch.testing.assert_close(task.inputs[:60, 0], (theirs.float() - mean) / sd)


def test_a_file_that_was_exchanged_or_is_no_idx_is_named(fashion, monkeypatch):
    folder, _, names = fashion
    file = folder / "fashion-mnist" / names[0]
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    with pytest.raises(ValueError, match="digest"):
        mcu.load_task("fashion_mnist", seeds=1, folder=folder)
    turned = whole[:200] + bytes(v ^ 255 for v in whole[200:300]) + whole[300:]
    for content, says in (
        (whole[:-9], "no gzip"),
        (turned, "no gzip"),
        (whole[:10] + bytes([255]) * 20, "no gzip"),
        (gzip.compress(b"\0\0\x0d\3"), "no IDX"),
    ):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=f"{names[0]} is {says}"):
            formats.idx(file)


@pytest.fixture
def folder(tmp_path):
    for i, name in enumerate(["cat", "dog"]):
        (tmp_path / name).mkdir()
        for j in range(10):
            colour = (200 * i, 10 * j, 50)
            Image.new("RGB", (40, 24 + j), colour).save(tmp_path / name / f"{j}.png")
    return tmp_path


def test_a_folder_of_ones_own_photographs(folder):
    task = mcu.load_task("image_folder", seeds=2, folder=folder, size=8, forget=0.25)
    assert task.inputs.shape == (20, 3, 8, 8) and task.classes == 2
    red = task.inputs[:, 0].mean((1, 2))
    assert torch.equal(red > 0, task.truth == 1)
    assert task.forget.shape == (2, 4) and task.retain.shape == (2, 12)


def test_what_is_no_folder_of_images_is_named(folder, tmp_path):
    with pytest.raises(ValueError, match="must hold two folders of images or more.*got none"):
        mcu.load_task("image_folder", seeds=1, folder=tmp_path / "cat")
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match="'dog' with 10, 'empty' with 0"):
        mcu.load_task("image_folder", seeds=1, folder=folder)
    (folder / "empty").rmdir()
    (folder / "dog" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(30))
    with pytest.raises(ValueError, match="3.png cannot be read as an image"):
        mcu.load_task("image_folder", seeds=1, folder=folder)
    with pytest.raises(ValueError, match="test must lie"):
        mcu.load_task("image_folder", seeds=1, folder=folder, test=1.0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"test": 0.01}, "test=0.01 of 20 images"),
        ({"test": 0.99}, "test=0.99 of 20 images"),
        ({"size": 0}, "size must be a whole number at least 1, got 0"),
    ],
)
def test_a_folder_that_leaves_nothing_is_refused_by_the_name_of_the_option(folder, options, says):
    with pytest.raises(ValueError, match=says):
        mcu.load_task("image_folder", seeds=1, folder=folder, **options)


def test_hidden_folders_are_no_class_and_what_is_skipped_is_counted(folder):
    plain = mcu.load_task("image_folder", seeds=1, folder=folder, size=8)
    for hidden in (folder / ".ipynb_checkpoints", folder / "cat" / ".thumbs"):
        hidden.mkdir()
        Image.new("RGB", (9, 9)).save(hidden / "0.png")
    (folder / "cat" / "notes.txt").write_text("?", encoding="utf-8")
    Image.new("RGB", (9, 9)).save(folder / "loose.png")
    with pytest.warns(UserWarning, match="2 files in .* are skipped"):
        task = mcu.load_task("image_folder", seeds=1, folder=folder, size=8)
    assert task.classes == 2 and torch.equal(task.inputs, plain.inputs)


def test_grey_images_of_16_bits_are_as_bright_as_those_of_8(tmp_path):
    grey = rng.integers(0, 256, (20, 8, 8), dtype=np.uint8)
    for name, values in (("eight", grey), ("sixteen", grey.astype(np.uint16) * 257)):
        for i, image in enumerate(values):
            for c, suffix in enumerate(["png", "tiff"]):
                file = tmp_path / name / f"class {c}" / f"{i:02}.{suffix}"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(file)
    eight, sixteen = (
        mcu.load_task("image_folder", seeds=1, folder=tmp_path / name, size=8)
        for name in ("eight", "sixteen")
    )
    assert torch.equal(eight.inputs, sixteen.inputs)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_an_image_whose_white_is_not_known_is_refused_by_name(folder, kind):
    Image.fromarray(np.ones((8, 8), kind)).save(folder / "dog" / "deep.tiff")
    with pytest.raises(ValueError, match="deep.tiff cannot be read as an image: .*not known"):
        mcu.load_task("image_folder", seeds=1, folder=folder)


def test_an_image_is_turned_upright_as_its_camera_says(folder):
    values = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    said = Image.Exif()
    said[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(np.rot90(values)).save(folder / "dog" / "turned.png", exif=said)
    upright = mcu.load_task("image_folder", seeds=1, folder=folder, size=8)
    Image.fromarray(values).save(folder / "dog" / "turned.png")
    plain = mcu.load_task("image_folder", seeds=1, folder=folder, size=8)
    assert torch.equal(upright.inputs, plain.inputs)


def test_patches_do_not_overlap_and_splits_do_not_either():
    task = mcu.load_task("patches", seeds=2)
    assert task.truth.unique().tolist() == list(range(8))
    for b in range(2):
        parts = [set(getattr(task, s)[b].tolist()) for s in ("retain", "forget", "test")]
        assert [len(p) for p in parts] == [270, 30, 500] and len(set.union(*parts)) == 800
        assert task.noisy[b, task.train[b]].sum() == 60
    assert not torch.equal(task.forget[0], task.forget[1])


@pytest.mark.parametrize(
    ("size", "says"),
    [(0, "at least 1, got 0"), (64, "at least 502 pieces.*got 64 with 120")]
    + [(33, "got 33 with 456"), (1000, "got 1000 with 0")],
)
def test_pieces_that_are_too_large_are_too_few(size, says):
    with pytest.raises(ValueError, match=f"size must .*{says}"):
        mcu.load_task("patches", seeds=1, size=size)


def test_a_class_is_as_large_for_every_seed():
    task = mcu.load_task("patches", seeds=5, forget_class=0)
    share = (task.truth[: -task.test.shape[1]] == 0).float().mean().item()
    assert task.forget.shape == (5, round(300 * share)) and task.train.shape == (5, 300)
    for b in range(5):
        assert (task.truth[task.forget[b]] == 0).all() and (task.truth[task.retain[b]] != 0).all()
        alone = mcu.load_task("patches", seeds=[b], forget_class=0)
        assert torch.equal(alone.forget[0], task.forget[b])
        assert torch.equal(alone.labels[0], task.labels[b])


@pytest.mark.parametrize(("train", "few"), [(None, 14), (10, 7)])
def test_a_class_may_be_most_of_all(train, few):
    pool = np.zeros((20, 1, 4, 4), np.uint8), np.repeat([0, 1], [14, 6])
    task = as_task("x", pool * 2, [0, 1, 2], forget_class=0, train=train)
    assert task.forget.shape == (3, few) and (task.truth[task.forget] == 0).all()
    assert task.retain.shape == (3, (train or 20) - few) and (task.truth[task.retain] == 1).all()
    with pytest.raises(ValueError, match="forget_class=1 must leave some of 2 images"):
        as_task("x", (pool[0], np.arange(20) == 0, *pool), [0], forget_class=1, train=2)


@pytest.mark.parametrize(
    ("options", "says"),
    [({"train": 1}, "train"), ({"forget": 0.001}, "forget"), ({"noise": 1}, "noise")]
    + [({"forget_class": 8}, "forget_class"), ({"train": 9, "forget_class": 0}, "train")],
)
def test_bad_options_are_named(options, says):
    pool = [np.zeros((20, 1, 4, 4), np.uint8), np.arange(20) % 8] * 2
    if says == "train" and len(options) > 1:
        options = {"train": 21}
    with pytest.raises(ValueError, match=says):
        as_task("x", tuple(pool), [0], **options)


def test_crops_are_windows_of_the_mirrored_image_row_by_row():
    x = torch.arange(2 * 5 * 3 * 8 * 8.0).view(2, 5, 3, 8, 8)

    def rngs(*seeds):
        return [torch.Generator().manual_seed(s) for s in seeds]

    cut = crop_and_flip(x, rngs(0, 1), most=2)
    torch.testing.assert_close(cut[1:], crop_and_flip(x[1:], rngs(1), most=2), rtol=0, atol=0)
    assert not torch.equal(cut, crop_and_flip(x, rngs(2, 3), most=2))
    seen = set()
    for image, own in zip(x.flatten(0, 1), cut.flatten(0, 1)):
        larger = np.pad(image.numpy(), ((0, 0), (2, 2), (2, 2)), mode="reflect")
        windows = {
            (i, j, f): larger[:, i : i + 8, j : j + 8][:, :, :: -1 if f else 1]
            for i in range(5)
            for j in range(5)
            for f in (0, 1)
        }
        found = [k for k, w in windows.items() if np.array_equal(w, own.numpy())]
        assert found
        seen.add(found[0])
    assert len(seen) > 5 and {f for *_, f in seen} == {0, 1}


def test_the_network_is_torchvisions_resnet_with_the_stem_for_small_images():
    theirs = torchvision.models.resnet18(num_classes=10)
    theirs.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
    theirs.maxpool = torch.nn.Identity()
    mine = mcu.MODELS["resnet18"]()
    state = dict(zip(mine.state_dict(), theirs.state_dict().values(), strict=True))
    mine.load_state_dict(state)
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(mine.eval()(x), theirs.eval()(x), rtol=1e-4, atol=1e-4)


def test_augmentation_is_used_in_training_and_only_there():
    task = mcu.load_task("patches", seeds=1, train=32)
    other = mcu.load_task("patches", seeds=1, train=32, augment=crop_and_flip)
    plain, changed = (mcu.train(t, "resnet_small", epochs=2) for t in (task, other))
    assert torch.equal(plain.initial, changed.initial)
    assert not torch.equal(plain.rows, changed.rows)
    few = {"metrics": ["loss", "accuracy"]}
    assert mcu.evaluate(plain, task, **few).equals(mcu.evaluate(plain, other, **few))


def test_the_kept_run_is_one_that_the_package_can_make():
    """What the chapter reads: the setting, the methods' recipes and the paths are still ours."""
    folder = Path(mcu.__file__).parent / "book" / "measured"
    about = json.loads((folder / "real-size.json").read_text(encoding="utf-8"))
    setting = mcu.Setting(**about["setting"])
    assert about["parameters"] == mcu.Architecture(mcu.MODELS[setting.model]()).size
    table = pd.read_csv(folder / "real-size.csv", na_filter=False)
    paths = {tuple(c.columns.values()) for c in on_photographs()}
    found = set(table[["condition", "a", "b", "curve", "objective"]].itertuples(index=False))
    assert {tuple(f) for f in found} <= paths
    assert len(table) == len(found) * setting.seeds * setting.ts * 7
    trials = pd.read_csv(folder / "tuning.csv")
    trials["distance"] = trials["js_to_oracle retain"] + trials["js_to_oracle forget"]
    best = trials.sort_values("distance").drop_duplicates("method").set_index("method")
    for method in ("npo", "graddiff", "finetune"):
        recipe = replace(mcu.METHODS[method], **RECIPES[method])
        assert (recipe.lr, recipe.steps) == tuple(best.loc[method, ["lr", "steps"]])
        assert (
            best.forget_weight.isna()[method] or recipe.forget_weight == best.forget_weight[method]
        )
