import importlib.util
import io
import struct
import zipfile

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deblurgan import untrusted
from deblurgan.errors import DeblurganError, FileError, WeightsError
from deblurgan.weights.flax import is_checkpoint, keras_layout, read_checkpoint
from tests.maxim_files import flax_arrays, keras_arrays

KERNEL = "stage_0_encoder_block_0/Conv_0/kernel"
UP = "stage_1_decoder_block_0/ConvTranspose_0/kernel"


def npy(array, version=(1, 0)):
    """An array as NumPy stores it."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version)
    return stream.getvalue()


def header(descr="'<f4'", order="False", shape="(2, 3)", data=24):
    """An array whose header is written by hand, with so many bytes of data."""
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + bytes(data)


def archive_of(members, compression=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return stream.getvalue()


@pytest.fixture
def checkpoint(tmp_path):
    """Write the arrays, whatever they hold, as a file."""

    def write(members, compression=zipfile.ZIP_STORED):
        path = tmp_path / "checkpoint.npz"
        contents = {name: npy(x) if isinstance(x, np.ndarray) else x for name, x in members.items()}
        path.write_bytes(archive_of(contents, compression))
        return path

    return write


# Layouts


def transposed_convolution(x, kernel, stride):
    """Flax's ConvTranspose, which is lax.conv_transpose with padding SAME and transpose_kernel=False, in float64.

    The input, with stride - 1 zeros between its pixels, is padded and correlated with the kernel (height, width, in,
    out) as it is.
    """
    rows, columns, width = x.shape
    spread = np.zeros(((rows - 1) * stride + 1, (columns - 1) * stride + 1, width))
    spread[::stride, ::stride] = x
    pads = []
    for side in kernel.shape[:2]:
        total = side + stride - 2
        before = side - 1 if stride > side - 1 else -(-total // 2)
        pads.append((before, total - before))
    spread = np.pad(spread, [*pads, (0, 0)])
    result = np.zeros((rows * stride, columns * stride, kernel.shape[3]))
    for y, x_, o in np.ndindex(result.shape):
        for a, b, i in np.ndindex(kernel.shape[:3]):
            result[y, x_, o] += spread[y + a, x_ + b, i] * float(kernel[a, b, i, o])
    return result


@pytest.mark.parametrize("side", [2, 3, 4])
def test_a_transposed_convolution_computes_in_keras_what_flax_defines(checkpoint, side):
    random = np.random.default_rng(side)
    image = random.normal(size=(3, 4, 5)).astype(np.float32)
    kernel = random.normal(size=(side, side, 5, 6)).astype(np.float32)
    read = read_checkpoint(checkpoint({f"opt/target/{UP}": kernel}))[UP]
    layer = keras.layers.Conv2DTranspose(6, side, strides=2, padding="same", use_bias=False)
    layer.build((1, 3, 4, 5))
    layer.set_weights([read])
    expected = transposed_convolution(image.astype(float), kernel, 2)
    np.testing.assert_allclose(layer(image[None])[0], expected, rtol=0, atol=2e-5)
    layer.set_weights([kernel.swapaxes(2, 3)])  # what it would be without turning it
    assert np.abs(layer(image[None])[0] - expected).max() > 0.1


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX")
@pytest.mark.parametrize("side", [2, 3, 4])
def test_the_restated_definition_is_that_of_jax(side):
    from jax import lax

    random = np.random.default_rng(side)
    image = random.normal(size=(3, 4, 5)).astype(np.float32)
    kernel = random.normal(size=(side, side, 5, 6)).astype(np.float32)
    made = lax.conv_transpose(image[None], kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    np.testing.assert_allclose(made[0], transposed_convolution(image, kernel, 2), rtol=0, atol=2e-5)


def test_the_layout_is_changed_a_number_at_a_time():
    kernel = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    changed = keras_layout(kernel)
    assert changed.shape == (2, 3, 5, 4)
    assert all(changed[1 - y, 2 - x, o, i] == kernel[y, x, i, o] for y, x, i, o in np.ndindex(kernel.shape))


# What is read


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_authors_form_is_read_and_the_rest_of_the_training_state_is_not(checkpoint, compression):
    arrays = flax_arrays()
    members = {f"opt/target/{name}": array for name, array in arrays.items()}
    members["opt/state/step"] = np.array(5)
    members[f"opt/state/param_states/{KERNEL}/grad_ema"] = b"not even an array"
    members["accum_train_time"] = header("'|O'", shape="(1,)")
    path = checkpoint(members, compression)
    assert is_checkpoint(path)
    found = read_checkpoint(path)
    expected = keras_arrays(arrays)
    assert list(found) == list(expected)
    for name, array in found.items():
        assert array.dtype == np.float32
        assert not array.flags.writeable
        np.testing.assert_array_equal(array, expected[name])


def test_plain_names_are_in_keras_layout_already(checkpoint):
    arrays = {name: array.astype(np.float16) for name, array in keras_arrays(flax_arrays()).items()}
    found = read_checkpoint(checkpoint({**arrays, "opt/state/step": np.array(5)}))
    assert list(found) == list(arrays)
    for name, array in found.items():
        assert array.dtype == np.float16
        np.testing.assert_array_equal(array, arrays[name])


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_dtypes_orders_and_versions(checkpoint, dtype, version):
    array = np.random.default_rng(0).normal(size=(3, 4)).astype(dtype)
    members = {KERNEL: npy(array, version), "stage_0_a": npy(np.asfortranarray(array), version)}
    for name, found in read_checkpoint(checkpoint(members)).items():
        np.testing.assert_array_equal(found, array, err_msg=name)
        assert found.dtype == np.dtype(dtype).newbyteorder("=")


def test_a_single_number_is_an_array_without_dimensions(checkpoint):
    assert read_checkpoint(checkpoint({KERNEL: header(shape="()", data=4)}))[KERNEL].shape == ()


def test_only_archives_of_arrays_are_taken_for_checkpoints(tmp_path):
    path = tmp_path / "file"
    for content in (b"hello", b"PK", b"\x93NUMPY"):
        path.write_bytes(content)
        assert not is_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    assert not is_checkpoint(path)
    with pytest.raises(FileError, match="found nothing"):
        is_checkpoint(tmp_path / "missing")


# What is refused


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (header("'|O'"), WeightsError, r"'\|O'"),
        (header("'<i4'"), WeightsError, "expected float16, float32 or float64, found '<i4'"),
        (header("'<V2'"), WeightsError, "'<V2'"),
        (header("[('a', '<f4')]"), WeightsError, "expected float16"),
        (header(shape="(2, 4)"), FileError, "24 bytes, which its shape does not fit"),
        (header(shape="(1000000000, 1000000000, 1000000000, 1000000000)"), FileError, "does not fit"),
        (header(shape="(2, -3)"), FileError, "no description"),
        (header(shape="6"), FileError, "no description"),
        (header(shape="(99999999999999999999, 0)", data=0), FileError, "damaged"),
        (header(order="None"), FileError, "no description"),
        (header(shape=f"({'1, ' * 40})", data=4), FileError, "damaged"),
        (b"\x93NUMPY\1\0\xff\xff{}", FileError, "no description"),
        (b"\x93NUMPY\x09\0", FileError, "no array"),
        (b"\x93NUM", FileError, "no array"),
        (b"", FileError, "no array"),
        (b"cos\nsystem\n(S'touch executed'\ntR.", FileError, "no array"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused_by_name(checkpoint, content, error, message):
    with pytest.raises(error, match=message) as caught:
        read_checkpoint(checkpoint({f"opt/target/{KERNEL}": content}))
    assert "checkpoint.npz: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_transposed_convolution_of_three_dimensions_is_refused(checkpoint):
    with pytest.raises(WeightsError, match="expected four dimensions, found 3"):
        read_checkpoint(checkpoint({f"opt/target/{UP}": np.zeros((2, 2, 2), np.float32)}))


def test_other_arrays_are_listed(checkpoint):
    members = {name: np.zeros(1, np.float32) for name in ("opt/target/a/kernel", *"bcdefg")}
    with pytest.raises(WeightsError, match="found 'opt/target/a/kernel', 'b', 'c', 'd', 'e' and 2 more"):
        read_checkpoint(checkpoint(members))


def test_two_arrays_of_one_name_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(archive_of({KERNEL: header(), KERNEL[:-1] + "m": header()}).replace(b"kernem", b"kernel"))
    with pytest.raises(FileError, match="the same name"):
        read_checkpoint(path)


def test_an_archive_that_unpacks_to_very_much_is_refused(checkpoint, monkeypatch):
    zeros = np.zeros(10**6, np.float32)
    path = checkpoint({KERNEL: zeros}, zipfile.ZIP_DEFLATED)
    np.testing.assert_array_equal(read_checkpoint(path)[KERNEL], zeros)  # small enough to be no harm
    monkeypatch.setattr(untrusted, "MAX_SMALL", 10**6)
    with pytest.raises(FileError, match="made to exhaust the memory"):
        read_checkpoint(path)


def test_a_member_that_claims_to_be_huge_is_refused(checkpoint):
    path = checkpoint({KERNEL: header()})
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\1\2")
    content[entry + 24 : entry + 28] = struct.pack("<I", 4 * 10**9)
    path.write_bytes(content)
    with pytest.raises(FileError, match="made to exhaust the memory"):
        read_checkpoint(path)


def test_other_compression_is_refused(checkpoint):
    with pytest.raises(FileError, match="unknown method"):
        read_checkpoint(checkpoint({KERNEL: header()}, zipfile.ZIP_LZMA))


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\3\4", b"\x80\2}."])
def test_what_is_no_archive_is_one_line(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(FileError, match=r"a\.npz: .*a \.npz archive of MAXIM's weights") as caught:
        read_checkpoint(tmp_path / "a.npz")
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_archive(tmp_path):
    with pytest.raises(FileError, match="found a folder"):
        read_checkpoint(tmp_path)


VALID = archive_of({f"opt/target/{name}": npy(np.ones((2, 2, 2, 3), np.float32)) for name in (KERNEL, UP)})
EDITS = st.lists(st.tuples(st.floats(0, 0.9999), st.binary(min_size=1, max_size=4)), max_size=5)


@settings(
    derandomize=True,
    deadline=None,
    max_examples=400,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(edits=EDITS, end=st.floats(0.3, 2.0))
def test_no_mutated_archive_is_worse_than_a_reported_error(tmp_path, edits, end):
    content = bytearray(VALID)
    for where, values in edits:
        place = int(where * len(content))
        content[place : place + len(values)] = values
    path = tmp_path / "mutated.npz"
    path.write_bytes(content[: int(end * len(content))])
    try:
        is_checkpoint(path)
        found = read_checkpoint(path)
    except DeblurganError as error:
        assert isinstance(error, (FileError, WeightsError))  # noqa: PT017 - either outcome is right
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert all(isinstance(array, np.ndarray) for array in found.values())
