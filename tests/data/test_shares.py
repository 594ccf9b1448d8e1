"""What each of several hosts gets of the training pictures."""

import numpy as np
import pytest

from deblurgan.data.arrays import ArrayStream, PictureSet
from deblurgan.data.crops import CropStream
from deblurgan.data.opening import open_source
from deblurgan.data.shares import HostShare


@pytest.mark.parametrize("hosts", [2, 3])
def test_the_hosts_share_the_places_of_each_batch_out_among_them(hosts):
    own = [[HostShare(host, hosts).place(number, 12) for number in range(5 * 12 // hosts)] for host in range(hosts)]
    for step in range(5):
        of_step = [place for places in own for place in places[step * 12 // hosts :][: 12 // hosts]]
        assert of_step == list(range(12 * step, 12 * step + 12))


@pytest.mark.parametrize("hosts", [2, 3])
def test_together_they_train_on_each_picture_once_in_an_epoch(gopro_crops, hosts):
    source = open_source({"kind": "gopro", "folder": str(gopro_crops)})
    stream = CropStream([source], crop_size=16, batch_size=6, crops_per_picture=1, augment="none")
    assert stream.pictures == 6
    pictures = [picture for pair in source.whole() for picture in [pair.read()[0]]]
    seen = []
    for host in range(hosts):
        for blurred, _ in stream.batches(0, 1, HostShare(host, hosts)):
            for crop in np.rint((blurred.numpy() + 1) * 127.5).astype(np.uint8):
                seen += [number for number, picture in enumerate(pictures) if holds(picture, crop)]
    assert sorted(seen) == list(range(6))


def holds(picture, crop):
    windows = np.lib.stride_tricks.sliding_window_view(picture, crop.shape)[:, :, 0]
    corners = np.argwhere((windows[:, :, 0, 0] == crop[0, 0]).all(-1))
    return any((picture[y : y + 16, x : x + 16] == crop).all() for y, x in corners)


@pytest.mark.parametrize("hosts", [2, 4])
def test_no_picture_is_opened_by_two_hosts_at_one_visit(gopro_crops, hosts):
    stream = CropStream([open_source({"kind": "gopro", "folder": str(gopro_crops)})], crop_size=16, batch_size=16)
    places = [
        [stream.place(number, HostShare(host, hosts)) for number in range(640 // hosts)] for host in range(hosts)
    ]
    own = 16 // hosts
    for step in range(40):
        of_step = [place for of_host in places for place in of_host[step * own :][:own]]
        assert sorted(of_step) == list(range(16 * step, 16 * step + 16))
    visits = [{place // 8 + 4 * (7 - place % 8) for place in of_host} for of_host in places]  # as `crop` has it
    assert len(set().union(*visits)) == sum(map(len, visits)) > 80


@pytest.mark.parametrize(("hosts", "devices"), [(1, 2), (2, 1), (3, 2)])
def test_their_devices_get_all_that_one_would(gopro_crops, hosts, devices):
    source = open_source({"kind": "gopro", "folder": str(gopro_crops)})
    crops = CropStream([source], crop_size=16, batch_size=24)
    noise = np.random.default_rng(0).integers(0, 256, (30, 4, 4, 1), np.uint8)
    for stream in (crops, ArrayStream(PictureSet("noise", noise, None, {}), batch_size=24)):
        batches = [stream.batches(3, 2, HostShare(host, hosts, devices)) for host in range(hosts)]
        parts = [[part[0] if isinstance(part, tuple) else part for part in batch] for batch in batches]
        for step, batch in enumerate(stream.batches(3, 2)):
            whole = batch[0] if isinstance(batch, tuple) else batch
            own = [part for of_host in parts for part in of_host[step * devices : (step + 1) * devices]]
            assert {len(part) for part in own} == {24 // (hosts * devices)}
            assert sorted(map(as_bytes, np.concatenate(own))) == sorted(map(as_bytes, whole.numpy()))


def as_bytes(picture):
    return picture.tobytes()
