"""Published formats are read as other programs write them; a network is torchvision's."""

import gzip
import hashlib
import io
import json
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import mcu_lite as mcu
from mcu_lite.book.photograph_study import on_photographs
from mcu_lite.tasks.photographs import RECIPES, as_task, crop_and_flip

torchvision = pytest.importorskip("torchvision")
rng = np.random.default_rng(0)


REFUSED = "http://127.0.0.1:9/"
"""Nobody listens there, as on a machine without network."""


def md5(content):
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """Both data sets as they are published, small: pickles of Python 2 in a gzipped tar."""
    written = {}
    for name, labels, classes in (("CIFAR10", "labels", 10), ("CIFAR100", "fine_labels", 100)):
        own = getattr(torchvision.datasets, name)
        contents = {}
        for file, _ in own.train_list + own.test_list:
            number = 2 * classes
            data = rng.integers(0, 256, (number, 3072), dtype=np.uint8)
            written[file] = data, [i * 7 % classes for i in range(number)]
            record = {"batch_label": file, labels: written[file][1], "data": data}
            contents[file] = pickle.dumps(record | {"coarse_labels": [0] * number}, protocol=2)
        names = {own.meta["key"]: list("ab")}
        contents[own.meta["filename"]] = pickle.dumps(names, protocol=2)
        with tarfile.open(tmp_path / own.filename, "w:gz") as made:
            for file, content in contents.items():
                member = tarfile.TarInfo(f"{own.base_folder}/{file}")
                member.size = len(content)
                made.addfile(member, io.BytesIO(content))
        for part in ("train_list", "test_list"):
            found = [[file, md5(contents[file])] for file, _ in getattr(own, part)]
            monkeypatch.setattr(own, part, found)
        monkeypatch.setattr(own, "meta", own.meta | {"md5": md5(contents[own.meta["filename"]])})
        monkeypatch.setattr(own, "tgz_md5", md5((tmp_path / own.filename).read_bytes()))
        monkeypatch.setattr(own, "url", REFUSED + own.filename)
    return tmp_path, written


def pixels(task, i):
    """A pool's image in 0..255, up to a factor and a constant for each channel."""
    return task.inputs[i].flatten(1).numpy()


def test_cifar_10_is_read_as_it_is_published(cifar):
    folder, written = cifar
    task = mcu.load_task("cifar10", seeds=2, folder=folder)
    assert task.inputs.shape == (120, 3, 32, 32) and task.classes == 10
    assert task.retain.shape == (2, 90) and task.forget.shape == (2, 10)
    assert task.test.tolist() == [list(range(100, 120))] * 2
    images, classes = written["data_batch_3"]
    assert task.truth[47] == classes[7]
    for own, channel in zip(pixels(task, 47), images[7].reshape(3, -1)):
        assert np.corrcoef(own, channel)[0, 1] == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(task.inputs[:100].mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    (folder / "cifar-10-batches-py" / "data_batch_2").write_bytes(b"cut off")
    assert torch.equal(mcu.load_task("cifar10", seeds=1, folder=folder).inputs, task.inputs)
    (folder / torchvision.datasets.CIFAR10.filename).unlink()  # Unpacked once is enough.
    assert torch.equal(mcu.load_task("cifar10", seeds=1, folder=folder).inputs, task.inputs)


def test_cifar_100_has_the_fine_classes(cifar):
    folder, written = cifar
    task = mcu.load_task("cifar100", seeds=1, folder=folder, forget_class=7)
    assert task.truth.tolist() == [*written["train"][1], *written["test"][1]]
    assert (task.truth[task.forget] == 7).all() and not (task.truth[task.retain] == 7).any()


def test_a_home_is_needed_only_where_no_folder_is_given(cifar, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.delenv("MCU_LITE_DATA", raising=False)
    given = mcu.load_task("cifar10", seeds=1, folder=cifar[0])
    with pytest.raises(RuntimeError):
        mcu.load_task("cifar10", seeds=1)
    monkeypatch.setenv("MCU_LITE_DATA", str(cifar[0]))
    assert torch.equal(mcu.load_task("cifar10", seeds=1).inputs, given.inputs)


@pytest.mark.parametrize("left", [0, 100])
def test_without_network_it_says_what_to_put_where(cifar, left):
    folder, _ = cifar
    own = torchvision.datasets.CIFAR10
    archive = folder / own.filename
    archive.write_bytes(archive.read_bytes()[:left])
    with pytest.raises(ValueError, match="CIFAR10 cannot be downloaded, or is not what") as caught:
        mcu.load_task("cifar10", seeds=1, folder=folder)
    assert f"put {own.filename} (MD5 {own.tgz_md5}) into {folder}" in str(caught.value)


def test_a_pickle_that_was_not_published_is_not_opened(cifar):
    class Harm:
        def __reduce__(self):
            return Path.touch, (folder / "harmed",)

    folder, _ = cifar
    mcu.load_task("cifar10", seeds=1, folder=folder)
    (folder / torchvision.datasets.CIFAR10.filename).unlink()
    for file in ("data_batch_2", "test_batch", "batches.meta"):
        target = folder / "cifar-10-batches-py" / file
        whole = target.read_bytes()
        target.write_bytes(pickle.dumps(Harm()))
        with pytest.raises(ValueError, match="CIFAR10 .* is not what was published"):
            mcu.load_task("cifar10", seeds=1, folder=folder)
        target.write_bytes(whole)
    assert not (folder / "harmed").exists()


def idx(values):
    head = bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    return gzip.compress(head + values.tobytes())


@pytest.fixture
def fashion(tmp_path, monkeypatch):
    values = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((60, 28, 28), (20, 28, 28))]
    classes = [np.arange(n, dtype=np.uint8) % 10 for n in (60, 20)]
    made = [idx(v) for pair in zip(values, classes) for v in pair]
    own = torchvision.datasets.FashionMNIST
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    names = [name for name, _ in own.resources]
    for name, content in zip(names, made):
        (raw / name).write_bytes(content)
    monkeypatch.setattr(own, "resources", list(zip(names, map(md5, made))))
    monkeypatch.setattr(own, "mirrors", [REFUSED])
    return tmp_path, values, raw / names[0]


def test_fashion_mnist_is_read_as_it_is_published(fashion):
    folder, values, _ = fashion
    task = mcu.load_task("fashion_mnist", seeds=1, folder=folder)
    assert task.inputs.shape == (80, 1, 28, 28) and task.truth[13] == 3
    images = torch.tensor(np.concatenate(values)).float()
    mean, sd = images[:60].mean(), images[:60].std()
    torch.testing.assert_close(task.inputs[:, 0], (images - mean) / sd)


def test_a_file_that_was_exchanged_or_is_cut_off_is_named(fashion):
    folder, _, file = fashion
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    with pytest.raises(
        ValueError, match=rf"FashionMNIST cannot .*put {file.name} \(MD5 .*and remove what is"
    ):
        mcu.load_task("fashion_mnist", seeds=1, folder=folder)
    file.write_bytes(whole)
    mcu.load_task("fashion_mnist", seeds=1, folder=folder)
    unpacked = file.with_suffix("")
    unpacked.write_bytes(unpacked.read_bytes()[:-9])
    with pytest.raises(ValueError, match=f"into {file.parent} and remove what"):
        mcu.load_task("fashion_mnist", seeds=1, folder=folder)


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


def test_a_link_to_where_one_has_been_adds_nothing(folder):
    plain = mcu.load_task("image_folder", seeds=1, folder=folder, size=8, forget=0.25)
    (folder / "cat" / "loop").symlink_to(folder, target_is_directory=True)
    linked = mcu.load_task("image_folder", seeds=1, folder=folder, size=8, forget=0.25)
    assert torch.equal(linked.inputs, plain.inputs) and torch.equal(linked.truth, plain.truth)


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
        ({"size": 0}, "size must be at least 1, got 0"),
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
    with pytest.warns(UserWarning, match="2 files in .* are skipped") as warned:
        task = mcu.load_task("image_folder", seeds=1, folder=folder, size=8)
    assert warned[0].filename == __file__
    assert task.classes == 2 and torch.equal(task.inputs, plain.inputs)


def test_links_are_followed_and_deeper_folders_belong_to_their_class(folder, tmp_path_factory):
    plain = mcu.load_task("image_folder", seeds=1, folder=folder, size=8)
    other = tmp_path_factory.mktemp("other")
    (other / "cat").symlink_to(folder / "cat")
    (other / "dog").mkdir()
    (folder / "dog").rename(other / "dog" / "deeper")
    task = mcu.load_task("image_folder", seeds=1, folder=other, size=8)
    assert torch.equal(task.inputs, plain.inputs) and torch.equal(task.truth, plain.truth)


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
    with pytest.raises(ValueError, match="forget must index at least one example"):
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
    paths = {tuple(c.columns.values())[:5] for c in on_photographs()}
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
