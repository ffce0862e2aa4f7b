"""The ledger: a shard is kept whole or not at all, and counts once."""
from __future__ import annotations

import numpy as np
import pytest

from harness.accuracy.sanity import content
from harness.cluster.shards import Ledger, ShardError, control_name, cut, merged, pack, part_of
from harness.places import PlaceError
from tests.harness.cluster.doubles import found

KEY = {"detector": "a", "dataset": "b"}
IDS = list(range(10, 110))


def detections(image_ids):
    return {image: found(b"x" * image) for image in image_ids}


@pytest.fixture(params=["folder", "url"])
def ledger(request, tmp_path) -> Ledger:
    place = tmp_path / "shards"
    made = Ledger(str(place) if request.param == "folder" else f"file://{place}", KEY)
    made.prepare()
    return made


def file_of(ledger, tmp_path, name):
    return tmp_path / "shards" / ledger.digest[:16] / name


def published(ledger, shards):
    for shard in shards:
        ledger.publish(shard.name, pack(shard.image_ids, detections(shard.image_ids)), "worker 1", {"kind": "cpu"})


def test_shards_are_whole_batches_and_hold_every_image_once():
    shards = cut(IDS, batch=8, least=30)
    assert [len(one.image_ids) for one in shards] == [32, 32, 32, 4]
    assert [image for one in shards for image in one.image_ids] == IDS


def test_parts_hold_every_shard_once_and_are_equally_long():
    shards = cut(IDS, 1, 10)
    parts = [part_of(shards, part, 3) for part in (1, 2, 3)]
    assert sorted(one for part in parts for one in part) == shards and [len(one) for one in parts] == [4, 3, 3]


def test_what_was_published_comes_back_bit_for_bit(ledger):
    shards = cut(IDS, 1, 40)
    published(ledger, shards)
    done, lines = ledger.done(shards)
    whole = merged(done)
    assert lines == [] and {n: (one.by, one.about) for n, one in done.items()} == {
        n: ("worker 1", {"kind": "cpu"}) for n in (1, 2, 3)}
    assert {image: content(own) for image, own in whole.items()} == {
        image: content(own) for image, own in detections(IDS).items()}


def test_a_shard_that_was_withdrawn_is_to_be_done_again(ledger):
    shards = cut(IDS, 1, 40)
    published(ledger, shards)
    ledger.withdraw([shards[1].name])
    assert set(ledger.done(shards)[0]) == {1, 3}


def test_a_shard_that_is_published_twice_counts_once(ledger):
    shards = cut(IDS, 1, 40)
    published(ledger, [*shards, shards[0]])
    assert len(merged(ledger.done(shards)[0])) == len(IDS)


@pytest.mark.parametrize(("damage", "why"), [
    (lambda content: content[:-20], "is damaged"), (lambda content: b"", "cut short"),
    (lambda content: content.replace(b'"shard-00001', b'"shard-00002'), "is of another detector"),
    (lambda content: content[:-1] + b"x", "is damaged"), (lambda content: b"{}\n" + content, "cut short"),
])
def test_a_damaged_or_foreign_shard_is_named_and_not_counted(ledger, tmp_path, damage, why):
    shards = cut(IDS, 1, 50)
    published(ledger, shards)
    path = file_of(ledger, tmp_path, shards[0].name)
    path.write_bytes(damage(path.read_bytes()))
    done, lines = ledger.done(shards)
    assert list(done) == [2] and len(lines) == 1 and shards[0].name in lines[0] and why in lines[0]


def test_a_shard_of_other_images_is_not_counted(ledger):
    shards = cut(IDS, 1, 50)
    ledger.publish(shards[0].name, pack(IDS[1:51], detections(IDS[1:51])), "worker 1")
    done, lines = ledger.done(shards)
    assert not done and "other images" in lines[0]


def test_ledgers_of_other_keys_do_not_see_each_other(ledger):
    published(ledger, cut(IDS, 1, 50))
    assert Ledger(ledger.place, {**KEY, "dataset": "c"}).names() == set()


def test_the_control_images_of_each_worker_are_kept_beside_the_shards(ledger):
    for worker in ("part 1 of 2", "part 2 of 2"):
        ledger.publish(control_name(worker), pack([1, 2], detections([1, 2])), worker)
    controls, lines = ledger.controls([1, 2])
    assert (sorted(controls), lines) == (["part 1 of 2", "part 2 of 2"], [])


@pytest.mark.parametrize(("changes", "why"), [
    ({"error": "no JPEG"}, "image 1: no JPEG"), ({"scores": np.array([np.nan], np.float32)}, "not finite"),
    ({"scores": np.array([0.5], np.float64)}, "must be float32"), ({"classes": np.array([0, 0], np.int32)}, "equally"),
])
def test_what_could_not_be_read_again_is_no_shard(changes, why):
    with pytest.raises(ShardError, match=why):
        pack([1], {1: found(b"x")._replace(**changes)})


def test_a_missing_image_is_no_shard():
    with pytest.raises(ShardError, match="1 of 2 images have no detections"):
        pack([1, 2], {1: found(b"x")})


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PlaceError, match="cannot be a folder"):
        Ledger(str(tmp_path / "file"), KEY).prepare()
    with pytest.raises(PlaceError, match=r"cannot be written .* --shards"):
        Ledger(f"file://{tmp_path}/file", KEY).prepare()
