import gzip
import io
import json
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deblurgan import untrusted
from deblurgan.errors import DeblurganError, FileError, WeightsError
from deblurgan.weights import tfjs
from deblurgan.weights.tfjs import is_graph_model, read_graph_model
from tests.maxim_files import Graph, flax_arrays, graph_of, keras_arrays, text, tgz, write_folder

ROOT = "StatefulPartitionedCall/backbone/"
CONV = f"{ROOT}stage_0_encoder_block_0/Conv_0/"
DENSE = f"{ROOT}stage_0_encoder_block_0/SplitHeadMultiAxisGmlpLayer_0/in_project/"
NORM = f"{ROOT}stage_0_encoder_block_0/channel_attention_block_10/LayerNorm/"
UP = f"{ROOT}stage_0_decoder_block_0/ConvTranspose_0/"
KERNEL = np.random.default_rng(0).normal(size=(1, 1, 4, 6)).astype(np.float32)
MATRIX = np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)
BIAS = np.random.default_rng(2).normal(size=6).astype(np.float32)


@pytest.fixture(scope="module")
def arrays():
    """Of a tiny network, in Keras' layout."""
    return keras_arrays(flax_arrays())


@pytest.fixture
def model(tmp_path):
    """Write a graph, or files, as a folder; return it."""

    def write(graph):
        return write_folder(tmp_path / "model", graph.files() if isinstance(graph, Graph) else graph)

    return write


def convolution(constant="kernel", op="Conv2D", at=CONV, array=KERNEL, **attributes):
    """A graph of one layer."""
    graph = Graph()
    graph.constant(constant, array)
    graph.node(f"{at}{op}", op, "x", constant, **attributes)
    return graph


def changed(graph, change):
    """The files of a graph whose `model.json` `change` has altered."""
    files = graph.files()
    contents = json.loads(files["model.json"])
    change(contents)
    return {**files, "model.json": json.dumps(contents).encode()}


# What is read


def check_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert array.dtype == np.float32
        assert not array.flags.writeable
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


@pytest.mark.parametrize("through", ["", "Identity", "Cast", "Reshape", "Transpose"])
def test_every_constant_is_read_exactly_under_its_layers_name(arrays, model, through):
    check_equal(read_graph_model(model(graph_of(arrays, through=through))), arrays)


def test_a_folder_its_model_json_and_a_package_hold_the_same(arrays, tmp_path):
    files = graph_of(arrays).files()
    folder = write_folder(tmp_path / "folder", files)
    packages = {
        "model.tgz": tgz(files),
        "named without an ending": tgz(files, prefix=""),
        "shards first": tgz(dict(reversed(files.items())), prefix="./a/"),
    }
    write_folder(tmp_path, packages)
    for path in (folder, folder / "model.json", *(tmp_path / name for name in packages)):
        assert is_graph_model(path)
        check_equal(read_graph_model(path), arrays)


def test_shards_may_lie_in_folders_below_and_in_groups(arrays, tmp_path):
    first, second = graph_of(arrays), convolution("other", at=f"{ROOT}stage_7_encoder_block_0/Conv_0/")

    def change(contents):
        contents["modelTopology"]["node"] += second.nodes
        group = contents["weightsManifest"][0]
        group["paths"] = [f"shards/{name}" for name in group["paths"]]
        contents["weightsManifest"].append({"paths": ["shards/../shards/b", "./b"][1:], "weights": second.entries})

    files = changed(first, change)
    moved = {name if name == "model.json" else f"shards/{name}": content for name, content in files.items()}
    moved["b"] = b"".join(second.data)
    expected = {**arrays, "stage_7_encoder_block_0/Conv_0/kernel": KERNEL}
    check_equal(read_graph_model(write_folder(tmp_path / "folder", moved)), expected)
    (tmp_path / "a.tgz").write_bytes(tgz(moved))
    check_equal(read_graph_model(tmp_path / "a.tgz"), expected)


@pytest.mark.parametrize("quantized", ["float16", "uint8", "uint16"])
def test_quantised_constants_are_what_tensorflow_js_makes_of_them(arrays, model, quantized):
    graph = graph_of(arrays, quantized=quantized)
    found = read_graph_model(model(graph))
    stored = {entry["name"]: (entry, data) for entry, data in zip(graph.entries, graph.data, strict=True)}
    for number, (name, array) in enumerate(arrays.items()):
        entry, data = stored[f"StatefulPartitionedCall/jax2tf_arg_{number}/ReadVariableOp"]
        if quantized == "float16":
            expected = array.astype(np.float16).ravel()
        else:
            least, scale = (entry["quantization"][key] for key in ("min", "scale"))
            steps = np.frombuffer(data, f"<{np.dtype(quantized).str[1:]}")
            expected = np.array([np.float32(float(step) * scale + least) for step in steps])
            assert np.abs(expected - array.ravel()).max() <= 0.51 * scale
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name].ravel(), expected, err_msg=name)


def test_other_constants_lie_between(model):
    graph = Graph()
    graph.entries += [
        {"name": "flag", "shape": [3], "dtype": "bool"},
        {"name": "words", "shape": [2], "dtype": "string"},
        {"name": "complex", "shape": [], "dtype": "complex64"},
    ]
    graph.data += [b"\1\0\1", b"\3\0\0\0abc\0\0\0\0", bytes(8)]
    graph.constant("kernel", KERNEL)
    graph.node(f"{CONV}Conv2D", "Conv2D", "x", "kernel")
    np.testing.assert_array_equal(read_graph_model(model(graph))["stage_0_encoder_block_0/Conv_0/kernel"], KERNEL)


@pytest.mark.parametrize(
    ("op", "attributes", "stored"),
    [
        ("Einsum", {"equation": text("abcg,gf->abcf")}, MATRIX),
        ("Einsum", {"equation": text("abcg,fg->abcf")}, MATRIX.T),
        ("MatMul", {}, MATRIX),
        ("MatMul", {"transpose_b": {"b": False}}, MATRIX),
        ("MatMul", {"transpose_b": {"b": True}}, MATRIX.T),
        ("_FusedMatMul", {"transpose_b": {"b": True}}, MATRIX.T),
        ("BatchMatMulV2", {"adj_y": {"b": True}}, MATRIX.T),
    ],
)
def test_the_kernel_of_a_dense_layer_is_in_out_whatever_multiplies_with_it(model, op, attributes, stored):
    found = read_graph_model(model(convolution("kernel", op, DENSE, stored, **attributes)))
    (array,) = found.values()
    np.testing.assert_array_equal(array, MATRIX)
    assert array.flags.c_contiguous


def test_a_kernel_may_be_the_first_factor(model):
    graph = Graph()
    graph.constant("kernel", MATRIX)
    graph.node(f"{DENSE}Einsum", "Einsum", "kernel", "x", equation=text("gf,abcg->abcf"))
    (array,) = read_graph_model(model(graph)).values()
    np.testing.assert_array_equal(array, MATRIX)


def test_a_fused_convolution_has_kernel_and_bias(model):
    graph = Graph()
    # Such a node is called like the last of those that it stands for; the constants still tell.
    graph.constant(f"{CONV}Conv2D/ReadVariableOp", KERNEL)
    graph.constant(f"{CONV}BiasAdd/ReadVariableOp", BIAS)
    graph.node(
        f"{ROOT}stage_0_encoder_block_0/Relu",
        "_FusedConv2D",
        "x",
        f"{CONV}Conv2D/ReadVariableOp",
        f"{CONV}BiasAdd/ReadVariableOp",
        fused_ops={"list": {"s": [text("BiasAdd")["s"], text("Relu")["s"]]}},
    )
    found = read_graph_model(model(graph))
    check_equal(
        found, {f"stage_0_encoder_block_0/Conv_0/{name}": x for name, x in (("kernel", KERNEL), ("bias", BIAS))}
    )


def test_a_constant_may_be_the_weight_of_several_layers(model):
    graph = convolution()
    other = CONV.replace("Conv_0", "Conv_1")
    graph.node(f"{other}Conv2D", "Conv2D", "x", "kernel", "^wait")
    found = read_graph_model(model(graph))
    check_equal(found, {f"stage_0_encoder_block_0/Conv_{i}/kernel": KERNEL for i in range(2)})


def test_neither_tensorflow_is_imported_nor_anything_executed(arrays, tmp_path):
    folder = write_folder(tmp_path, graph_of(arrays).files())
    code = (
        "import sys; from deblurgan.weights.tfjs import read_graph_model; "
        f"assert read_graph_model({str(folder)!r}); assert not {{'tensorflow', 'keras'}} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_taken_for_a_graph_model(tmp_path):
    files = {"json": b' {"a": 1}', "gzip": gzip.compress(b""), "text": b"hello", "safetensors": b"{\0\0\0\0\0\0\0{"}
    write_folder(tmp_path, files)
    assert {name for name in files if is_graph_model(tmp_path / name)} == {"json", "gzip"}
    assert not is_graph_model(tmp_path)
    write_folder(tmp_path, {"model.json": b"{}"})
    assert is_graph_model(tmp_path)


# What is refused


def check_refused(path, error, message):
    with pytest.raises(error, match=message) as caught:
        read_graph_model(path)
    assert "\n" not in str(caught.value)
    assert str(path.parent) in str(caught.value)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (convolution(op="DepthwiseConv2dNative"), "uses it"),
        (convolution(op="Mul"), "uses it"),
        (convolution(at=UP), "uses it"),  # a transposed convolution that convolves
        (convolution(op="Conv2DBackpropInput"), "uses it"),
        (convolution(op="MatMul", array=MATRIX), "uses it"),
        (convolution(op="Sub", at=NORM, array=BIAS), "uses it"),
        (convolution(op="Conv2D", at=DENSE, array=MATRIX), "uses it"),
        (convolution(op="Einsum", at=DENSE, array=MATRIX, equation=text("abcg,gf->abcgf")), "uses it"),
        (convolution(op="Einsum", at=DENSE, array=MATRIX, equation=text("abcg,gf->abc")), "uses it"),
        (convolution(op="Einsum", at=DENSE, array=MATRIX, equation=text("abcg->abc")), "uses it"),
        (convolution(op="_FusedConv2D", array=MATRIX), r"expected 4 dimensions for .*, found the shape \(4, 6\)"),
        (convolution(op="MatMul", at=DENSE, array=KERNEL), "expected 2 dimensions"),
        (convolution(op="AddV2", array=MATRIX), "expected 1 dimensions"),
        (convolution(f"ConstantFolding/{CONV}Conv2D/merged_input"), "folded with others"),
        (convolution(at="somewhere/else/Conv_0/"), "none of its layers"),
        (convolution(at=f"{ROOT}stage_0_encoder_block_0/"), "none of its layers"),
        (Graph(), "none of its layers"),
        (convolution(op="Sub", at=f"{ROOT}stage_0_a/\n/Conv_0/"), r"a/\\n/Conv_0"),
        (convolution(at=f"{ROOT}stage_0_a/\n/Conv_0/", array=MATRIX), r"a/\\n/Conv_0"),
    ],
)
def test_constants_that_no_layer_can_have_are_refused(model, graph, message):
    check_refused(model(graph) / "model.json", WeightsError, message)


def test_two_constants_for_one_weight_are_refused(model):
    graph = convolution()
    graph.constant("another", KERNEL)
    graph.node(f"{CONV}Conv2D_1", "Conv2D", "x", "another")
    check_refused(
        model(graph) / "model.json", WeightsError, "expected one constant for 'stage_0_encoder_block_0/Conv_0"
    )


def test_a_shape_that_the_graph_computes_is_refused(model):
    graph = Graph()
    graph.constant("kernel", KERNEL)
    graph.node("computed", "Pack")
    graph.node("reshaped", "Reshape", "kernel", "computed")
    graph.node(f"{CONV}Conv2D", "Conv2D", "x", "reshaped")
    check_refused(model(graph) / "model.json", WeightsError, "expected a constant shape or order")


def manifest(contents):
    return contents["weightsManifest"][0]


def entry(contents):
    return manifest(contents)["weights"][0]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda c: entry(c).update(shape=[10**6, 10**6]), FileError, "reaches beyond the 96 bytes"),
        (lambda c: entry(c).update(shape=[2**62, 2**62, 2**62]), FileError, "reaches beyond"),
        (lambda c: entry(c).update(shape=[1, 1, 4, 7]), FileError, "reaches beyond"),
        (lambda c: entry(c).update(shape=[1, 1, 4, 5]), FileError, "take 80 bytes, but the shards hold 96"),
        (lambda c: entry(c).update(shape=[1, 1, -4, -6]), FileError, "damaged"),
        (lambda c: entry(c).update(shape=[1] * 40), FileError, "damaged"),
        (lambda c: entry(c).update(shape=[1.0, 1, 4, 6]), FileError, "damaged"),
        (lambda c: entry(c).update(shape="a"), FileError, "damaged"),
        (lambda c: entry(c).pop("shape"), FileError, "damaged"),
        (lambda c: entry(c).update(dtype="float64"), WeightsError, "its dtype 'float64' is not read"),
        (lambda c: entry(c).update(dtype=["float32"]), FileError, "damaged"),
        (lambda c: entry(c).update(dtype="string", shape=[10**9]), FileError, "reaches beyond"),
        (lambda c: entry(c).update(name=5), FileError, "expected a new name of a constant, found a int"),
        (lambda c: entry(c).update(quantization={"dtype": "int4"}), WeightsError, "'int4'"),
        (lambda c: entry(c).update(quantization={"dtype": "uint8"}), FileError, "take 24 bytes"),
        (
            lambda c: entry(c).update(shape=[1, 1, 4, 24], quantization={"dtype": "uint8", "min": 0}),
            FileError,
            "KeyError",
        ),
        (lambda c: entry(c).update(quantization=5), FileError, "damaged"),
        (lambda c: manifest(c)["weights"].append(entry(c)), FileError, "found 'kernel'"),
        (lambda c: manifest(c).update(paths=["missing.bin"]), FileError, "expected the shard 'missing.bin'"),
        (lambda c: manifest(c).update(paths=[5]), FileError, "expected the name of a shard, found a int"),
        (lambda c: manifest(c).update(paths=[""]), FileError, "expected the name of a shard"),
        (lambda c: manifest(c).update(paths=["a\0b"]), FileError, "expected the name of a shard"),
        (lambda c: manifest(c).update(paths=manifest(c)["paths"] * 2), FileError, "named twice"),
        (lambda c: manifest(c)["paths"].append("./" + manifest(c)["paths"][0]), FileError, "named twice"),
        (lambda c: manifest(c)["paths"].append("."), FileError, r"expected the shard '\.'"),
        (lambda c: c.update(weightsManifest=5), FileError, "damaged"),
        (lambda c: c.pop("weightsManifest"), FileError, "damaged"),
        (lambda c: c.update(modelTopology={"model_config": {}}), WeightsError, "without modelTopology.node"),
        (lambda c: c.pop("modelTopology"), WeightsError, "without modelTopology.node"),
        (lambda c: c["modelTopology"]["node"].append(c["modelTopology"]["node"][0]), FileError, "a new name"),
        (lambda c: c["modelTopology"]["node"].append({"name": "a", "op": {}}), FileError, "a new name of a node"),
        (lambda c: c["modelTopology"]["node"].append({"name": "a"}), FileError, "damaged"),
        (lambda c: c["modelTopology"]["node"].append(5), FileError, "damaged"),
        (lambda c: c["modelTopology"]["node"][1].update(input=[5]), FileError, "damaged"),
    ],
)
def test_a_manifest_or_graph_that_is_wrong_is_one_line(tmp_path, change, error, message):
    files = changed(convolution(), change)
    folder = write_folder(tmp_path / "folder", files)
    check_refused(folder / "model.json", error, message)
    (tmp_path / "a.tgz").write_bytes(tgz(files))
    check_refused(tmp_path / "a.tgz", error, message)


@pytest.mark.parametrize("name", ["../secret", "a/../../secret", "/etc/hostname", "C:secret", "..\\secret", "a/.."])
def test_shards_outside_of_the_folder_are_refused(tmp_path, name):
    (tmp_path / "secret").write_bytes(KERNEL.tobytes())
    files = changed(convolution(), lambda c: manifest(c).update(paths=[name]))
    folder = write_folder(tmp_path / "folder", files)
    check_refused(folder / "model.json", FileError, "refused the shard .*: it leads out of the folder")
    (tmp_path / "a.tgz").write_bytes(tgz({**files, "secret": KERNEL.tobytes()}))
    check_refused(tmp_path / "a.tgz", FileError, "refused the shard .*: it leads out of the folder")


@pytest.mark.parametrize("prefix", ["../", "package/../../", "/"])
def test_members_outside_of_the_archive_are_refused(tmp_path, prefix):
    (tmp_path / "a.tgz").write_bytes(tgz(convolution().files(), prefix))
    check_refused(tmp_path / "a.tgz", FileError, "refused the member .*: it leads out of the folder")
    assert [path.name for path in tmp_path.rglob("*")] == ["a.tgz"]


def test_links_in_an_archive_are_not_followed(tmp_path):
    files = convolution().files()
    (shard,) = set(files) - {"model.json"}
    (tmp_path / "a.tgz").write_bytes(tgz({**files, shard: None}))
    check_refused(tmp_path / "a.tgz", FileError, "expected the shard .* in the archive, found none")


def test_an_archive_has_one_model(tmp_path):
    files = convolution().files()
    (tmp_path / "a.tgz").write_bytes(tgz({**files, "b/model.json": files["model.json"]}))
    check_refused(
        tmp_path / "a.tgz", FileError, r"one model\.json, found 2: 'package/models/model\.json', 'package/m"
    )
    (tmp_path / "a.tgz").write_bytes(tgz({"a": b""}))
    check_refused(tmp_path / "a.tgz", FileError, r"one model\.json, found 0$")


def test_a_damaged_or_truncated_archive_is_one_line(tmp_path):
    path = tmp_path / "a.tgz"
    content = tgz(graph_of(keras_arrays(flax_arrays())).files())
    flipped = bytearray(content)
    flipped[-6] ^= 1  # the checksum
    for damaged in (content[:9], content[:1000], content[:-10], flipped, gzip.compress(b"hello" * 300)):
        path.write_bytes(damaged)
        check_refused(path, FileError, "a.tgz: ")


def member_of(size, kind=tarfile.REGTYPE, name="model.json"):
    """The header of a member that says it has `size` bytes."""
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "content",
    [
        member_of(10**12),
        member_of(10**12, tarfile.GNUTYPE_LONGNAME) + bytes(10**6),
        member_of(10**12, tarfile.XHDTYPE) + bytes(10**6),
        member_of(-1024) + bytes(2048),
        member_of(-512, tarfile.GNUTYPE_LONGNAME) + bytes(2048),
        member_of(0) * 3000 + bytes(1024),
    ],
)
def test_an_archive_made_to_exhaust_memory_or_patience_is_refused(tmp_path, monkeypatch, content):
    monkeypatch.setattr(untrusted, "MAX_SMALL", 2**22)
    monkeypatch.setattr(tfjs, "_MAX_MEMBERS", 2000)
    (tmp_path / "a.tgz").write_bytes(gzip.compress(content))
    check_refused(tmp_path / "a.tgz", FileError, "a.tgz: ")


def test_an_archive_that_unpacks_to_very_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(untrusted, "MAX_SMALL", 10**6)
    (tmp_path / "a.tgz").write_bytes(tgz({**convolution().files(), "zeros": bytes(2 * 10**6)}))
    check_refused(tmp_path / "a.tgz", FileError, "made to exhaust the memory")


def test_constants_that_are_used_unreasonably_often_are_refused(model, monkeypatch):
    monkeypatch.setattr(tfjs, "MAX_SMALL", 1000)
    graph = convolution()
    for i in range(2, 30):
        graph.node(f"{CONV.replace('Conv_0', f'Conv_{i}')}Conv2D", "Conv2D", "x", "kernel")
    check_refused(model(graph) / "model.json", FileError, "unreasonably often")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "without modelTopology"),
        (b"{", "damaged"),
        (b"[" * 10**5, "damaged"),
        (b"", "empty"),
        (b"\xff", "damaged"),
    ],
)
def test_what_is_no_json_of_a_model_is_one_line(model, content, message):
    check_refused(model({"model.json": content}) / "model.json", DeblurganError, message)


def test_a_model_json_of_unreasonable_size_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tfjs, "MAX_HEADER", 100)
    files = convolution().files()
    (tmp_path / "a.tgz").write_bytes(tgz(files))
    for path in (write_folder(tmp_path / "folder", files) / "model.json", tmp_path / "a.tgz"):
        check_refused(path, FileError, r"expected a model\.json of at most 100 bytes")


def test_a_folder_without_a_model_says_so(tmp_path):
    with pytest.raises(FileError, match=r"model\.json: expected a TensorFlow\.js graph model, found nothing"):
        read_graph_model(tmp_path)


def small():
    """A graph with some of everything."""
    arrays = {
        "stage_0_input_conv_0/kernel": KERNEL,
        "stage_0_decoder_block_0/ConvTranspose_0/kernel": KERNEL,
        "stage_0_a/in_project/kernel": MATRIX,
        "stage_0_a/LayerNorm/scale": BIAS,
        "stage_0_a/LayerNorm/bias": BIAS,
    }
    return graph_of(arrays, through="Reshape", quantized="uint8")


VALID = small().files(10**6)
few = settings(
    derandomize=True,
    deadline=None,
    max_examples=300,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def check_either(path):
    try:
        is_graph_model(path)
        found = read_graph_model(path)
    except DeblurganError as error:
        assert isinstance(error, (FileError, WeightsError))  # noqa: PT017 - either outcome is right
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert all(isinstance(array, np.ndarray) for array in found.values())


PIECES = [
    "0",
    "-1",
    "1e999",
    "NaN",
    "null",
    "[]",
    "{}",
    '"a"',
    '"',
    ",",
    "99999999999999999999",
    "Transpose",
    "Const",
]


@few
@given(
    edits=st.lists(st.tuples(st.floats(0, 0.9999), st.integers(0, 12), st.sampled_from(PIECES)), max_size=4),
    end=st.floats(0.9, 1.5),
)
def test_no_mutated_model_is_worse_than_a_reported_error(tmp_path, edits, end):
    content = VALID["model.json"].decode()
    for where, removed, piece in edits:
        place = int(where * len(content))
        content = content[:place] + piece + content[place + removed :]
    content = content[: int(end * len(content))]
    check_either(write_folder(tmp_path, {**VALID, "model.json": content.encode()}))


def leaves(value, path=()):
    """The places of all values in a JSON document."""
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*path, key)
            yield from leaves(inner, (*path, key))


PLACES = sorted(leaves(json.loads(VALID["model.json"])), key=str)
VALUES = [
    None,
    True,
    0,
    -1,
    3,
    2**70,
    0.5,
    float("nan"),
    "",
    "a",
    "Conv2D",
    "Reshape",
    [],
    [1],
    ["kernel"],
    {},
    "Cg==",
]


@few
@given(edits=st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(VALUES)), min_size=1, max_size=3))
def test_no_other_value_anywhere_is_worse_than_a_reported_error(tmp_path, edits):
    contents = json.loads(VALID["model.json"])
    for place, value in edits:
        outer = contents
        try:
            for key in place[:-1]:
                outer = outer[key]
            outer[place[-1]] = value
        except (TypeError, LookupError):
            pass  # an edit before has taken it away
    check_either(write_folder(tmp_path, {**VALID, "model.json": json.dumps(contents).encode()}))


PACKAGE = gzip.decompress(tgz(VALID))


@few
@given(
    edits=st.lists(st.tuples(st.floats(0, 0.9999), st.binary(min_size=1, max_size=8)), max_size=4),
    end=st.floats(0.5, 1.5),
    packed=st.booleans(),
)
def test_no_mutated_archive_is_worse_than_a_reported_error(tmp_path, edits, end, packed):
    content = bytearray(gzip.compress(PACKAGE) if packed else PACKAGE)
    for where, values in edits:
        place = int(where * len(content))
        content[place : place + len(values)] = values
    content = content[: int(end * len(content))]
    path = tmp_path / "a.tgz"
    path.write_bytes(content if packed else gzip.compress(content))
    check_either(path)


def test_the_archives_above_are_read_when_they_are_sound(tmp_path):
    (tmp_path / "a.tgz").write_bytes(gzip.compress(PACKAGE))
    assert len(read_graph_model(tmp_path / "a.tgz")) == 5
    with tarfile.open(fileobj=io.BytesIO(PACKAGE)) as archive:
        assert len(archive.getnames()) == len(VALID)
