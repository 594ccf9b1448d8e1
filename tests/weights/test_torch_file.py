import contextlib
import io
import math
import os
import pickle
import struct
import sys
import tarfile
import types
import warnings
import zipfile
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest

from deblurgan.errors import DeblurganError, FileError, WeightsError
from deblurgan.weights import torch_file
from deblurgan.weights.torch_file import read_safetensors, read_torch
from tests import safetensors_files
from tests.safetensors_files import safetensors, with_header

DATA = Path(__file__).parents[1] / "data" / "torch"
RANDOM = np.random.default_rng(0)
STORAGE_TYPES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
    "bfloat16": "BFloat16Storage",
}
forms = pytest.mark.parametrize("form", ["zip", "deflated", "old"])


class Storage:
    """Stands for torch's: numbers that a pickle names and that are stored outside of it."""

    def __init__(self, numbers, dtype=None, *, numel=None, view=None, location="cpu"):
        self.numbers = np.ascontiguousarray(numbers).ravel()
        self.type_name = STORAGE_TYPES[dtype or self.numbers.dtype.name]
        self.numel = self.numbers.size if numel is None else numel
        self.view = view
        self.location = location


class Tensor:
    """Pickles as torch.Tensor does."""

    rebuild = "_rebuild_tensor_v2"

    def __init__(self, values, dtype=None, *, storage=None, offset=0, size=None, stride=None):
        values = np.asarray(values)
        self.storage = storage or Storage(values, dtype)
        self.offset = offset
        self.size = values.shape if size is None else size
        self.stride = contiguous(self.size) if stride is None else stride

    def __reduce_ex__(self, protocol):
        arguments = (self.storage, self.offset, self.size, self.stride)
        if self.rebuild == "_rebuild_tensor_v2":
            arguments += (False, OrderedDict())
        return getattr(sys.modules["torch._utils"], self.rebuild), arguments


class TensorOf2017(Tensor):
    rebuild = "_rebuild_tensor"


class Parameter:
    def __init__(self, tensor, state=None):
        self.arguments = (tensor, True, OrderedDict()) + (() if state is None else (state,))

    def __reduce_ex__(self, protocol):
        name = "_rebuild_parameter" if len(self.arguments) == 3 else "_rebuild_parameter_with_state"
        return getattr(sys.modules["torch._utils"], name), self.arguments


def contiguous(size):
    return tuple(math.prod(size[axis + 1 :]) for axis in range(len(size)))


@pytest.fixture
def torch_names(monkeypatch):
    """Put modules called torch and torch._utils in place, with the names that a pickle of tensors refers to."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in STORAGE_TYPES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    for name in ("tensor", "tensor_v2", "parameter", "parameter_with_state"):
        exec(f"def _rebuild_{name}(*arguments): ...", utils.__dict__)
    torch._utils = utils
    for module in (torch, utils):
        monkeypatch.setitem(sys.modules, module.__name__, module)


def pickled(contents, protocol, old=False):
    """Return the pickle of `contents` and its storages by key."""
    keys, storages = {}, {}

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if not isinstance(value, Storage):
                return None
            root = value.view[0] if value.view else value
            key = keys.setdefault(id(root), str(len(keys)))
            storages[key] = root
            kind = getattr(sys.modules["torch"], value.type_name)
            view = ("view" + key, *value.view[1:]) if value.view else None
            return ("storage", kind, key, value.location, value.numel) + ((view,) if old else ())

    stream = io.BytesIO()
    Pickler(stream, protocol).dump(contents)
    return stream.getvalue(), storages


def write_zip(path, program, storages, *, compression=zipfile.ZIP_STORED, folder="weights/", byteorder="little"):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(f"{folder}data.pkl", program)
        if byteorder:
            archive.writestr(f"{folder}byteorder", byteorder)
        for key, raw in storages.items():
            archive.writestr(f"{folder}data/{key}", raw)
        archive.writestr(f"{folder}version", "3\n")


def write_old(path, program, storages, protocol=2):
    """`storages`: the numbers' bytes and their count, by key."""
    head = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}})
    blocks = [pickle.dumps(value, protocol) for value in head]
    blocks += [program, pickle.dumps(sorted(storages), protocol)]
    for _, (raw, count) in sorted(storages.items()):
        blocks += [struct.pack("<q", count), raw]
    path.write_bytes(b"".join(blocks))


@pytest.fixture
def save(tmp_path, torch_names):
    """A function that writes contents as torch.save does, in one of the `forms`, and returns the path."""

    def saved(contents, form="zip", *, protocol=2, **options):
        path = tmp_path / "weights.pth"
        program, storages = pickled(contents, protocol, old=form == "old")
        order = ">" if options.get("byteorder") == "big" else "<"
        raws = {key: s.numbers.astype(s.numbers.dtype.newbyteorder(order)).tobytes() for key, s in storages.items()}
        if form == "old":
            write_old(path, program, {key: (raw, storages[key].numbers.size) for key, raw in raws.items()}, protocol)
        else:
            compression = zipfile.ZIP_DEFLATED if form == "deflated" else zipfile.ZIP_STORED
            write_zip(path, program, raws, compression=compression, **options)
        return path

    return saved


@pytest.fixture
def save_program(tmp_path):
    """A function that writes a pickle given as bytes into a file of either form, and returns the path."""

    def saved(program, form="zip", storages=None):
        path = tmp_path / "program.pth"
        storages = storages or {}
        if form == "old":
            write_old(path, program, {key: (raw, len(raw) // 4) for key, raw in storages.items()})
        else:
            write_zip(path, program, storages, compression=zipfile.ZIP_STORED)
        return path

    return saved


def assert_same(arrays, expected):
    assert list(arrays) == list(expected)
    for name, array in arrays.items():
        want = np.asarray(expected[name])
        assert array.dtype == want.dtype, name
        assert array.shape == want.shape, name
        np.testing.assert_array_equal(array, want, err_msg=name)


def message(kind, read, path):
    with pytest.raises(DeblurganError) as caught:
        read(path)
    assert isinstance(caught.value, kind)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert len(text.splitlines()) == 1
    assert text.isprintable()
    return text


# PyTorch files: what they hold


@forms
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_come_back_exactly_and_in_the_files_order(save, form, protocol):
    values = {
        "conv.weight": RANDOM.normal(size=(4, 3, 2, 2)).astype(np.float32),
        "a.bias": np.array([np.nan, np.inf, -0.0, 1e-42], np.float32),
        "bn.num_batches_tracked": np.array(70000, np.int64),
        "empty": np.zeros((3, 0, 2), np.float32),
    }
    contents = OrderedDict((name, Tensor(value)) for name, value in values.items())
    assert_same(read_torch(save(contents, form, protocol=protocol)), values)


@forms
@pytest.mark.parametrize("dtype", [dtype for dtype in STORAGE_TYPES if dtype != "bfloat16"])
def test_every_dtype_keeps_its_values(save, form, dtype):
    values = np.array([0, 1, 2, 100, 0, 3]).reshape(2, 3).astype(dtype)
    assert_same(read_torch(save({"x": Tensor(values)}, form)), {"x": values})


@forms
def test_bfloat16_becomes_the_same_number_in_float32(save, form):
    values = np.array([1.0, -2.5, 3.140625, 0.0, np.inf, 2.0**-130], np.float32)  # all of them have a bfloat16
    upper = (values.view(np.uint32) >> 16).astype(np.uint16)
    assert_same(read_torch(save({"x": Tensor(upper, "bfloat16")}, form)), {"x": values})


def test_the_byte_order_of_the_file_is_honoured(save):
    values = np.array([1.5, -3e-7, 2e20], np.float32)
    upper = np.array([0x3F80, 0xC020], np.uint16)
    contents = {"x": Tensor(values), "b": Tensor(upper, "bfloat16")}
    expected = {"x": values, "b": np.array([1, -2.5], np.float32)}
    assert_same(read_torch(save(contents, byteorder="big")), expected)
    assert_same(read_torch(save(contents, byteorder=None)), expected)


@forms
def test_views_of_a_shared_storage_see_their_own_part(save, form):
    numbers = np.arange(24, dtype=np.float32)
    storage = Storage(numbers)
    contents = {
        "all": Tensor(numbers.reshape(4, 6), storage=storage),
        "transposed": Tensor(0, storage=storage, size=(6, 4), stride=(1, 6)),
        "columns": Tensor(0, storage=storage, offset=1, size=(4, 2), stride=(6, 3)),
        "last": Tensor(0, storage=storage, offset=23, size=(), stride=()),
        "expanded": Tensor(0, storage=storage, offset=5, size=(2, 3), stride=(0, 0)),
        "one of a dimension": Tensor(0, storage=storage, offset=20, size=(1, 4), stride=(2**40, 1)),
        "none": Tensor(0, storage=storage, offset=24, size=(0, 3), stride=(3, 1)),
    }
    grid = numbers.reshape(4, 6)
    expected = {
        "all": grid,
        "transposed": grid.T,
        "columns": grid[:, [1, 4]],
        "last": grid[3, 5],
        "expanded": np.full((2, 3), 5, np.float32),
        "one of a dimension": grid[3:, 2:],
        "none": np.zeros((0, 3), np.float32),
    }
    arrays = read_torch(save(contents, form))
    assert_same(arrays, expected)
    assert np.shares_memory(arrays["all"], arrays["columns"])
    with pytest.raises(ValueError, match="read-only"):
        arrays["all"][0, 0] = 1


def test_storages_that_are_parts_of_others_as_old_files_have_them(save):
    root = Storage(np.arange(10, dtype=np.float32))
    part = Storage(root.numbers, view=(root, 4, 3))
    contents = {"part": Tensor(0, storage=part, offset=1, size=(2,)), "all": Tensor(root.numbers, storage=root)}
    assert_same(read_torch(save(contents, "old")), {"part": np.array([5, 6], np.float32), "all": root.numbers})
    beyond = Tensor(0, storage=part, offset=1, size=(3,))
    assert "reaches beyond its storage" in message(FileError, read_torch, save({"x": beyond}, "old"))


@forms
def test_tensors_of_a_gpu_parameters_and_those_of_old_releases(save, form):
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    on_gpu = Tensor(values, storage=Storage(values, location="cuda:0"))
    contents = {
        "gpu": on_gpu,
        "parameter": Parameter(Tensor(values)),
        "with state": Parameter(Tensor(values), {"tag": 1}),
        "2017": TensorOf2017(values),
    }
    assert_same(read_torch(save(contents, form)), dict.fromkeys(contents, values))


@pytest.mark.parametrize("folder", ["", "archive/", "latest_net_G/", "ä b/"])
def test_the_folder_inside_the_archive_has_any_name(save, folder):
    assert_same(read_torch(save({"x": Tensor(np.ones(2))}, folder=folder)), {"x": np.ones(2)})


@forms
def test_attributes_of_a_state_dict_are_left_out(save, form):
    contents = OrderedDict(x=Tensor(np.ones(2)))
    contents._metadata = OrderedDict([("", {"version": 1}), ("bn", {"version": 2})])
    assert_same(read_torch(save(contents, form)), {"x": np.ones(2)})


def test_a_file_of_python_2(save_program):
    storage = b"(U\x07storagectorch\nFloatStorage\nU\x010U\x06cuda:0K\x02NtQ"
    tensor = b"ctorch._utils\n_rebuild_tensor\n(" + storage + b"K\x00(K\x02t(K\x01ttR"
    program = b"\x80\x02ccollections\nOrderedDict\n(]](U\x01w" + tensor + b"eatR}U\x09_metadataNsb."
    path = save_program(program, "old", {"0": np.array([3, 4], "<f4").tobytes()})
    assert_same(read_torch(path), {"w": np.array([3, 4], np.float32)})


@pytest.mark.parametrize("form", ["zip", "old"])
def test_files_that_pytorch_itself_wrote(form):
    """They hold what `examples` below makes, as PyTorch 2.13 saved it."""
    assert_same(read_torch(DATA / f"{form}.pth"), expected_of_examples())


def expected_of_examples():
    grid = np.arange(12, dtype=np.float32).reshape(3, 4) / 8
    return {
        "net.weight": grid,
        "net.bias": np.array([0.5, -1], np.float32),
        "transposed": grid.T,
        "slice": grid[1:, ::2],
        "half": np.array([0.5, 65504], np.float16),
        "brain": np.array([1, -2.5, 2.0**-130], np.float32),
        "double": np.array([[np.pi]]),
        "count": np.array(7),
        "mask": np.array([True, False, True]),
        "bytes": np.array([0, 255], np.uint8),
        "empty": np.zeros((0, 3), np.float32),
    }


# PyTorch files: which mapping is the network


def numbered(*names, number=0.0):
    return OrderedDict((name, Tensor(np.full(2, number, np.float32))) for name in names)


@pytest.mark.parametrize("name", ["params", "state_dict", "model", "net_g", "anything"])
def test_the_only_state_dict_of_a_checkpoint_is_taken(save, name):
    contents = {
        "epoch": 3,
        "best": np.float64(27.5),
        "rng": Tensor(np.zeros(4, np.uint8)),
        "optimizer": {
            "state": {0: {"step": Tensor(np.array(5.0)), "exp_avg": Tensor(np.zeros(2))}},
            "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999), "params": [0, 1]}],
        },
        "scheduler": {"milestones": Counter([5, 5]), "seen": {1, 2}, "by": defaultdict(dict, a={})},
        "note": "trained\non a Tuesday",
        name: numbered("a", "b", number=2),
    }
    expected = dict.fromkeys(["a", "b"], np.full(2, 2, np.float32))
    for protocol in (2, 4):
        assert_same(read_torch(save(contents, protocol=protocol)), expected)


def test_of_several_state_dicts_the_usual_name_is_taken(save):
    contents = {"discriminator": numbered("a", number=1), "params": numbered("a", number=2)}
    assert read_torch(save(contents))["a"][0] == 2
    assert read_torch(save({**contents, "params_ema": numbered("a", number=3)}))["a"][0] == 3
    assert read_torch(save({"D": numbered("d"), "generator": numbered("a", number=4)}))["a"][0] == 4


def test_several_state_dicts_of_unusual_names_are_refused_by_name(save):
    text = message(WeightsError, read_torch, save({"one": numbered("a"), "tw\no": numbered("a")}))
    assert "found 2: 'one', 'tw\\no'" in text


def test_stray_values_beside_tensors_are_skipped(save):
    assert list(read_torch(save({"version": 2, 7: Tensor(np.ones(1)), **numbered("a", "b")}))) == ["a", "b"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["module.a.w", "module.b"], ["a.w", "b"]),
        (["module.module.a"], ["a"]),
        (["module.a", "b"], ["module.a", "b"]),
        (["modules.a"], ["modules.a"]),
    ],
)
def test_a_prefix_of_dataparallel_is_taken_off_where_all_have_it(save, names, expected):
    assert list(read_torch(save({"params": numbered(*names), "epoch": 1}))) == expected


@pytest.mark.parametrize("contents", [{}, {"epoch": 3}, [1, 2], "text", None, {"a": {"b": {"c": 1}}}])
def test_a_file_without_a_state_dict_is_refused(save, contents):
    assert "expected tensors by name" in message(WeightsError, read_torch, save(contents))


def test_a_lone_tensor_and_a_list_of_tensors_are_refused(save):
    for contents in (Tensor(np.ones(2)), [Tensor(np.ones(2))]):
        assert "expected tensors by name" in message(WeightsError, read_torch, save(contents))


# PyTorch files: what must not happen


class Call:
    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("form", ["zip", "old"])
@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    ("function", "code", "name"),
    [
        (os.system, "touch marker", f"{os.name}.system"),
        (eval, "open('marker', 'w').close()", "eval"),
        (exec, "open('marker', 'w').close()", "exec"),
    ],
)
def test_a_pickle_that_calls_functions_runs_nothing(
    tmp_path, monkeypatch, save_program, form, protocol, function, code, name
):
    monkeypatch.chdir(tmp_path)
    marker = tmp_path / "marker"
    program = pickle.dumps({"state_dict": Call(function, code)}, protocol)
    pickle.loads(program)
    assert marker.exists()  # so it does what it is meant to do
    marker.unlink()
    text = message(WeightsError, read_torch, save_program(program, form))
    assert f"{name}'" in text
    assert "nothing was executed" in text
    assert not marker.exists()


def test_a_plain_pickle_is_no_way_around(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps(Call(os.system, "touch marker")))
    assert "nothing was executed" in message(WeightsError, read_torch, path)
    path.write_bytes(pickle.dumps({"a": np.float64(1)}))
    message(FileError, read_torch, path)
    assert not (tmp_path / "marker").exists()


def stack_global(module, name):
    return b"\x80\x04" + b"".join(b"\x8c" + bytes([len(s)]) + s.encode() for s in (module, name)) + b"\x93"


@pytest.mark.parametrize("form", ["zip", "old"])
@pytest.mark.parametrize(
    ("program", "name"),
    [
        (stack_global("collections", "OrderedDict.__init__.__globals__"), "collections.OrderedDict.__init__"),
        (stack_global("torch._utils", "_rebuild_tensor_v2.__globals__"), "torch._utils._rebuild_tensor_v2.__globals"),
        (stack_global("torch", "FloatStorage.__init__"), "torch.FloatStorage.__init__"),
        (stack_global("torch", "os.system"), "torch.os.system"),
        (stack_global("torch.EvilStorage", "x"), "torch.EvilStorage.x"),
        (stack_global("deblurgan.weights.torch_file", "os"), "deblurgan.weights.torch_file.os"),
        (stack_global("builtins", "getattr"), "builtins.getattr"),
        (b"ctorch.serialization\nload\n", "torch.serialization.load"),
        (b"ctorch.hub\nload_state_dict_from_url\n", "torch.hub.load_state_dict_from_url"),
        (b"ctorch._utils\n_import_dotted_name\n", "torch._utils._import_dotted_name"),
        (b"ctorch.nn.modules.conv\nConv2d\n", "torch.nn.modules.conv.Conv2d"),
        (b"ccopyreg\n_reconstructor\n", "copyreg._reconstructor"),
        (b"ccopy_reg\n__newobj__\n", "copy_reg.__newobj__"),
        (b"cfunctools\npartial\n", "functools.partial"),
        (b"coperator\nattrgetter\n", "operator.attrgetter"),
        (b"cnumpy.core.multiarray\n_reconstruct\n", "numpy.core.multiarray._reconstruct"),
        (b"(S'touch marker'\nios\nsystem\n", "os.system"),
    ],
)
def test_names_that_no_tensor_needs_are_refused(save_program, form, program, name):
    text = message(WeightsError, read_torch, save_program(program + b".", form))
    assert f"refused '{name}" in text
    assert "nothing was executed" in text
    assert "save its state_dict() instead" in text


@pytest.mark.parametrize(
    ("program", "opcode"),
    [
        (b"(ccollections\nOrderedDict\no", "OBJ"),
        (b"\x80\x02ccollections\nOrderedDict\n)\x81", "NEWOBJ"),
        (b"\x80\x04ccollections\nOrderedDict\n)}\x92", "NEWOBJ_EX"),
        (b"\x80\x02\x82\x01", "EXT1"),
        (b"P0\n", "PERSID"),
        (b"\x80\x05\x97", "NEXT_BUFFER"),
    ],
)
def test_opcodes_that_no_tensor_needs_are_not_run(save_program, program, opcode):
    assert f"pickle opcode {opcode} is not run" in message(FileError, read_torch, save_program(program + b"."))


def test_a_refused_name_cannot_break_the_message(save_program):
    name = "\x1b[31m\n" * 20
    text = message(WeightsError, read_torch, save_program(stack_global("os", name) + b"."))
    assert len(text) < 500


def test_a_pickle_cannot_change_what_later_files_are_read_with(save, save_program):
    good = save({"x": Tensor(np.ones(2))})
    for name in ("torch._utils _rebuild_tensor_v2", "collections OrderedDict", "torch FloatStorage", "torch Size"):
        module, name = name.split()
        setting = f"c{module}\n{name}\n(N}}(V__defaults__\n(KKtV__code__\nNV__call__\nNutb.".replace(
            "KK", "K\x01K\x02"
        )
        message(WeightsError, read_torch, save_program(setting.encode()))
        assert_same(read_torch(good), {"x": np.ones(2)})


def test_attributes_cannot_shadow_the_methods_of_a_mapping(save_program):
    tensor = b"ctorch._utils\n_rebuild_tensor\n((Vstorage\nctorch\nFloatStorage\nV0\nNK\x01tQK\x00(K\x01t(K\x01ttR"
    program = b"ccollections\nOrderedDict\n)RVx\n" + tensor + b"s}(Vitems\nccollections\nOrderedDict\nub."
    path = save_program(program, "zip", {"0": struct.pack("<f", 3)})
    assert_same(read_torch(path), {"x": np.array([3], np.float32)})


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor(0, storage=Storage(np.ones(4, np.float32), numel=10**15), size=(4,)),
        Tensor(0, storage=Storage(np.ones(4, np.float32)), size=(5,)),
        Tensor(0, storage=Storage(np.ones(4, np.float32)), offset=1, size=(4,)),
        Tensor(0, storage=Storage(np.ones(4, np.float32)), size=(2, 2), stride=(2**62, 2**62)),
        Tensor(0, storage=Storage(np.ones(4, np.float32)), size=(5, 1), stride=(2**62, 1)),
        Tensor(0, storage=Storage(np.ones(4, np.float32)), size=(10**6, 10**6), stride=(0, 0)),
        Tensor(0, storage=Storage(np.ones(4, np.float32)), size=(2**62, 2**62), stride=(0, 0)),
        Tensor(0, storage=Storage(np.ones(4, np.float32)), size=(0, 2**62, 2**62), stride=(0, 0, 0)),
        Tensor(0, storage=Storage(np.zeros(0, np.float32)), size=(2,)),
        Tensor(0, storage=Storage(np.ones(4, np.float32)), offset=-1, size=(2,)),
        Tensor(0, storage=Storage(np.ones(4, np.float32)), offset=3, size=(2,), stride=(-1,)),
        Tensor(0, storage=Storage(np.ones(4, np.float32)), size=(-1,)),
        Tensor(0, storage=Storage(np.ones(4, np.float32)), size=(1.0,), stride=(1,)),
        Tensor(0, storage=Storage(np.ones(4, np.float32)), size=(2,), stride=(1, 1)),
        Tensor(0, storage=Storage(np.ones(4, np.float32)), size=(1,) * 40),
        Tensor(0, storage=Storage(np.ones(4, np.float32)), size=(2 ** (10**5),) * 30),
    ],
)
@pytest.mark.parametrize("form", ["zip", "old"])
def test_tensors_that_do_not_fit_their_storage_are_refused(save, form, tensor):
    assert "damaged" in message(FileError, read_torch, save({"x": tensor}, form))


def test_an_old_file_that_claims_more_numbers_than_it_has_is_refused(tmp_path, torch_names):
    path = tmp_path / "weights.pth"
    program, _ = pickled({"x": Tensor(np.ones(2, np.float32))}, 2, old=True)
    for claimed in (3, 2**62, -1):
        write_old(path, program, {"0": (np.ones(2, "<f4").tobytes(), claimed)})
        assert "truncated or damaged: expected" in message(FileError, read_torch, path)


def test_one_storage_cannot_have_two_dtypes(tmp_path, torch_names):
    path = tmp_path / "weights.pth"
    program, _ = pickled([Tensor(np.ones(2, np.float32)), Tensor(np.ones(2, np.float64))], 2)
    write_zip(path, program.replace(b"X\x01\x00\x00\x001", b"X\x01\x00\x00\x000"), {"0": b"\0" * 16})
    assert "two" in message(FileError, read_torch, path)


def test_an_archive_that_would_fill_the_memory_is_refused(tmp_path, torch_names):
    path = tmp_path / "weights.pth"
    program, _ = pickled({"x": Tensor(np.ones(2, np.float32))}, 2)
    write_zip(path, program, {"0": bytes(2**26)}, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    assert "exhaust the memory" in message(FileError, read_torch, path)


LAUGHS = (
    b"\x80\x02)" + b"q\x00h\x00\x86" * 100
)  # a tuple of 2**100 leaves, which is small as long as none counts them


@pytest.mark.parametrize("form", ["zip", "old"])
@pytest.mark.parametrize(
    ("kind", "program"),
    [
        (WeightsError, LAUGHS),
        (WeightsError, b"}" + LAUGHS + b"Ns"),
        (WeightsError, b"\x80\x04\x8f(" + LAUGHS + b"\x90"),
        (FileError, LAUGHS + b"Q"),
        (FileError, b"\x80\x04V\n" + LAUGHS + b"\x93"),
        (FileError, LAUGHS + b"NR"),
        (WeightsError, b"}r\xff\xff\xff\xff"),
        (FileError, b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x"),
        (FileError, b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x"),
        (WeightsError, b"(" * 100_000 + b"t" * 100_000),
        (WeightsError, b"]" + b"q\x00h\x00a"),
    ],
    ids=["value", "key", "set", "id", "name", "call", "memo", "text", "bytes", "depth", "cycle"],
)
def test_pickles_that_would_fill_the_memory_or_take_years_do_neither(save_program, form, kind, program):
    message(kind, read_torch, save_program(program + b".", form))


def test_a_pickle_of_too_many_steps_is_refused(save_program, monkeypatch):
    monkeypatch.setattr(torch_file, "_MAX_OPCODES", 1000)
    assert "more than 1000 steps" in message(FileError, read_torch, save_program(b"N" * 1001 + b"."))


def test_old_storage_keys_that_would_take_years_to_hash_are_refused(tmp_path):
    path = tmp_path / "weights.pth"
    write_old(path, b"}.", {})
    head = path.read_bytes()[: -len(pickle.dumps([], 2))]
    path.write_bytes(head + b"](" + LAUGHS + b"e.")
    message(FileError, read_torch, path)


# PyTorch files: damage


@pytest.mark.parametrize("read", [read_torch, read_safetensors])
def test_what_is_no_file_or_an_empty_one_is_named(tmp_path, read):
    assert "found nothing" in message(FileError, read, tmp_path / "missing.pth")
    assert "found a folder" in message(FileError, read, tmp_path)
    (tmp_path / "empty.pth").write_bytes(b"")
    assert "found an empty file" in message(FileError, read, tmp_path / "empty.pth")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read anything")
def test_an_unreadable_file_is_named(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"x")
    path.chmod(0)
    assert "cannot be read" in message(FileError, read_torch, path)


@pytest.mark.parametrize("read", [read_torch, read_safetensors])
@pytest.mark.parametrize(
    "data", [b"\x89HDF\r\n\x1a\n" + bytes(50), b"\x89PNG\r\n\x1a\n" * 9, b"hello\n", bytes(99), b"\x80"]
)
def test_other_kinds_of_files_are_refused(tmp_path, read, data):
    path = tmp_path / "other"
    path.write_bytes(data)
    assert "or not a " in message(FileError, read, path)


def test_other_archives_are_refused(tmp_path):
    path = tmp_path / "weights.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.weights.h5", b"x")
    assert "an archive with 0 data.pkl" in message(FileError, read_torch, path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"N.")
        archive.writestr("b/data.pkl", b"N.")
    assert "an archive with 2 data.pkl" in message(FileError, read_torch, path)


def test_torchscript_is_told_apart(tmp_path):
    path = tmp_path / "script.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"script/{name}", b"N.")
    assert "TorchScript" in message(WeightsError, read_torch, path)


def test_the_tar_format_before_pytorch_0_1_10_is_told_apart(tmp_path):
    path = tmp_path / "weights.pth"
    with tarfile.open(path, "w:", format=tarfile.PAX_FORMAT) as archive:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            archive.addfile(tarfile.TarInfo(name))
    assert "before 0.1.10" in message(WeightsError, read_torch, path)


def test_an_archive_without_one_of_its_storages_or_with_odd_settings_is_refused(tmp_path, torch_names):
    path = tmp_path / "weights.pth"
    program, _ = pickled({"x": Tensor(np.ones(2, np.float32))}, 2)
    write_zip(path, program, {})
    assert "weights/data/0" in message(FileError, read_torch, path)
    write_zip(path, program, {"0": bytes(8)}, byteorder="middle")
    assert "byte order" in message(FileError, read_torch, path)
    write_zip(path, program, {"0": bytes(8)}, compression=zipfile.ZIP_BZIP2)
    assert "unknown method" in message(FileError, read_torch, path)


@forms
def test_a_file_cut_anywhere_is_refused(save, form):
    path = save({"params": numbered("a", "b"), "epoch": 1}, form)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        message(FileError, read_torch, path)


def mutations(whole, count):
    """Yield `whole` with a few of its bytes changed, removed or doubled."""
    random = np.random.default_rng(1)
    for _ in range(count):
        data = bytearray(whole)
        for position in random.integers(0, len(data), random.integers(1, 5)):
            match random.integers(0, 4):
                case 0:
                    data[position : position + 1] = b""
                case 1:
                    data[position:position] = data[position : position + int(random.integers(1, 20))]
                case 2 if position < len(data):
                    data[position] ^= 1 << random.integers(0, 8)
                case _ if position < len(data):
                    data[position] = random.integers(0, 256)
        yield bytes(data)


@pytest.mark.parametrize("form", ["pickle", "zip", "deflated", "old", "safetensors"])
def test_damaged_files_give_arrays_or_an_error_of_this_package(tmp_path, save, save_program, form):
    read = read_safetensors if form == "safetensors" else read_torch
    values = {
        "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "count": np.array(3),
        "half": np.ones(2, "f2"),
    }
    contents = {"epoch": 3, "params": OrderedDict((name, Tensor(value)) for name, value in values.items())}
    if form == "safetensors":
        path = tmp_path / "weights.safetensors"
        path.write_bytes(safetensors(values))
    elif form == "pickle":
        path = save(contents)
        with zipfile.ZipFile(path) as archive:
            whole, storages = archive.read("weights/data.pkl"), {str(key): bytes(24) for key in range(3)}
    else:
        path = save(contents, form)
    whole = whole if form == "pickle" else path.read_bytes()
    messages = []
    for data in mutations(whole, 300):
        if form == "pickle":
            path = save_program(data, "zip", storages)
        else:
            path.write_bytes(data)
        with contextlib.suppress(DeblurganError):
            for array in read(path).values():
                np.array(array)
            continue
        messages.append(message(DeblurganError, read, path))
    assert messages


# safetensors


@pytest.fixture
def written(tmp_path):
    """A function that writes bytes into a file and returns its path."""

    def write(data):
        path = tmp_path / "weights.safetensors"
        path.write_bytes(data)
        return path

    return write


def test_safetensors_come_back_exactly_and_in_the_headers_order(written):
    values = {dtype: np.array([[0, 1, 2], [100, 0, 3]]).astype(dtype) for dtype in safetensors_files.TYPES}
    values |= {"scalar": np.array(2.5), "empty": np.zeros((2, 0), np.float32), "a": np.ones(3, np.float32)}
    path = written(safetensors(values, metadata={"format": "pt"}))
    arrays = read_safetensors(path)
    assert_same(arrays, values)
    with pytest.raises(ValueError, match="read-only"):
        arrays["a"][0] = 2


def test_safetensors_bfloat16_becomes_float32(written):
    path = written(safetensors({"x": np.array([0x3F80, 0xC020], np.uint16)}, dtypes={"x": "BF16"}))
    assert_same(read_safetensors(path), {"x": np.array([1, -2.5], np.float32)})


def test_safetensors_in_another_order_than_their_header(written):
    places = {"b": [8, 16], "a": [0, 8]}
    header = {name: {"dtype": "F32", "shape": [2], "data_offsets": place} for name, place in places.items()}
    path = written(with_header(header, np.arange(4, dtype="<f4").tobytes()))
    assert_same(read_safetensors(path), {"b": np.array([2, 3], np.float32), "a": np.array([0, 1], np.float32)})


def test_safetensors_lose_a_common_prefix(written):
    assert list(read_safetensors(written(safetensors({"module.a": np.ones(1), "module.b": np.ones(1)})))) == [
        "a",
        "b",
    ]


def test_safetensors_of_other_dtypes_and_without_tensors_are_refused(written):
    path = written(safetensors({"x": np.ones(2, np.uint8)}, dtypes={"x": "F8_E4M3"}))
    assert "'x': its dtype 'F8_E4M3' is not read" in message(WeightsError, read_safetensors, path)
    assert "expected tensors" in message(
        WeightsError, read_safetensors, written(safetensors({}, metadata={"a": "b"}))
    )


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ({"a": {**ENTRY, "shape": [3], "data_offsets": [0, 12]}}, "bytes, found"),
        ({"a": {**ENTRY, "shape": [3]}}, "which its shape does not fit"),
        ({"a": {**ENTRY, "shape": [2**62, 2**62]}}, "which its shape does not fit"),
        ({"a": {**ENTRY, "shape": [10**30]}}, "damaged"),
        ({"a": {**ENTRY, "shape": [1] * 40}}, "damaged"),
        ({"a": {**ENTRY, "shape": [-2]}}, "damaged"),
        ({"a": {**ENTRY, "shape": [True]}}, "damaged"),
        ({"a": {**ENTRY, "shape": [2.0]}}, "damaged"),
        ({"a": {**ENTRY, "shape": 2}}, "damaged"),
        ({"a": {**ENTRY, "data_offsets": [8, 0]}}, "overlap or leave gaps"),
        ({"a": {**ENTRY, "data_offsets": [4, 12]}}, "overlap or leave gaps"),
        ({"a": {**ENTRY, "data_offsets": [-8, 0]}}, "damaged"),
        ({"a": {**ENTRY, "data_offsets": [0, 8, 16]}}, "damaged"),
        ({"a": {**ENTRY, "dtype": ["F32"]}}, "damaged"),
        ({"a": ENTRY, "b": ENTRY}, "overlap or leave gaps"),
        ({"a": {"dtype": "F32"}}, "damaged"),
        ({"a": 3}, "damaged"),
        ([1], "damaged"),
        (b"{", "damaged"),
        (b"[" * 100_000, "damaged"),
        (b'{"a": ' + b"1" * 5000 + b"}", "damaged"),
        (b"\xff\xfe{}", "damaged"),
    ],
)
def test_damaged_safetensors_are_refused(written, header, part):
    assert part in message(FileError, read_safetensors, written(with_header(header, bytes(8))))


def test_a_safetensors_file_of_another_length_is_refused(written):
    whole = safetensors({"a": np.ones(3, np.float32), "b": np.ones((), np.int8)})
    for length in range(len(whole)):
        message(FileError, read_safetensors, written(whole[:length]))
    assert "truncated or damaged" in message(FileError, read_safetensors, written(whole + b"x"))
    for claimed in (2**64 - 1, len(whole), 10**8):
        path = written(struct.pack("<Q", claimed) + whole[8:])
        assert "header" in message(FileError, read_safetensors, path)


# beside PyTorch itself


@pytest.fixture(scope="module")
def torch():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torch")


def examples(torch):
    """Return what tests/data/torch/zip.pth and old.pth hold."""
    grid = torch.arange(12.0).reshape(3, 4) / 8
    tensors = {
        "net.weight": torch.nn.Parameter(grid),
        "net.bias": torch.tensor([0.5, -1]),
        "transposed": grid.T,
        "slice": grid[1:, ::2],
        "half": torch.tensor([0.5, 65504], dtype=torch.float16),
        "brain": torch.tensor([1, -2.5, 2.0**-130], dtype=torch.bfloat16),
        "double": torch.full((1, 1), np.pi, dtype=torch.float64),
        "count": torch.tensor(7),
        "mask": torch.tensor([True, False, True]),
        "bytes": torch.tensor([0, 255], dtype=torch.uint8),
        "empty": torch.zeros(0, 3),
    }
    return {"epoch": 3, "params": OrderedDict((f"module.{name}", tensor) for name, tensor in tensors.items())}


beside_torch = pytest.mark.torch
both_formats = pytest.mark.parametrize("new", [True, False], ids=["zip", "old"])


@pytest.fixture
def compare(torch, tmp_path):
    """A function that saves contents with PyTorch and compares what is read with what PyTorch reads."""

    def compared(contents, new, pick=lambda contents: contents, **options):
        path = tmp_path / "weights.pth"
        torch.save(contents, path, _use_new_zipfile_serialization=new, **options)
        loaded = pick(torch.load(path, weights_only=not options))
        expected = {}
        for name, tensor in loaded.items():
            tensor = tensor.detach()
            expected[name] = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
        arrays = read_torch(path)
        assert_same(arrays, expected)
        return arrays

    return compared


@beside_torch
@both_formats
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_torch_state_dicts(torch, compare, new, protocol):
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ConvTranspose2d(8, 3, 3, bias=False)
    )
    net[1].running_mean += torch.rand(8)
    state = net.state_dict()
    assert state._metadata
    options = {} if protocol == 2 else {"pickle_protocol": protocol}
    assert len(compare(state, new, **options)) == 8


@beside_torch
@both_formats
def test_torch_dtypes_and_views(torch, compare, new):
    torch.manual_seed(0)
    grid = torch.randn(6, 8)
    contents = {
        "grid": grid,
        "transposed": grid.T,
        "slice": grid[1:5:2, 3:],
        "row": grid[-1],
        "number": grid[2, 3],
        "permuted": torch.randn(2, 3, 4, 5).permute(3, 1, 0, 2),
        "channels last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "expanded": torch.randn(3, 1).expand(3, 7),
        "brain": torch.randn(5, 3).bfloat16().T,
        "half": torch.randn(5).half()[1:],
        "double": torch.randn(5).double(),
        "parameter": torch.nn.Parameter(torch.randn(3)),
        "mask": torch.randn(9) > 0,
        "empty": torch.zeros(4, 0),
        "scalar": torch.tensor(3),
    }
    contents["tied"] = contents["parameter"]
    for dtype in (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64):
        contents[str(dtype)] = torch.arange(-3, 3).to(dtype)
    arrays = compare(contents, new)
    assert np.shares_memory(arrays["tied"], arrays["parameter"])


@beside_torch
@both_formats
def test_torch_checkpoints_of_a_training(torch, compare, new):
    net = torch.nn.DataParallel(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)))
    optimizer = torch.optim.AdamW(net.parameters(), amsgrad=True)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 3])
    net(torch.randn(1, 3, 5, 5)).sum().backward()
    optimizer.step()
    contents = {
        "epoch": 3,
        "size": torch.Size([3, 4]),
        "dtype": torch.bfloat16,
        "device": torch.device("cpu"),
        "rng": torch.get_rng_state(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "state_dict": net.state_dict(),
    }
    arrays = compare(
        contents, new, lambda loaded: {name.removeprefix("module."): t for name, t in loaded["state_dict"].items()}
    )
    assert "0.weight" in arrays


@beside_torch
@both_formats
def test_torch_parameters_with_attributes(torch, compare, new):
    parameter = torch.nn.Parameter(torch.randn(3))
    parameter.tag = "x"
    compare({"x": parameter}, new)


@beside_torch
@both_formats
def test_torch_whole_models_are_refused(torch, tmp_path, new):
    path = tmp_path / "model.pth"
    torch.save(torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1)), path, _use_new_zipfile_serialization=new)
    text = message(WeightsError, read_torch, path)
    assert "torch.nn.modules" in text
    assert "save its state_dict() instead" in text


@beside_torch
@both_formats
def test_torch_makes_the_stored_examples(torch, tmp_path, new):
    path = tmp_path / "examples.pth"
    torch.save(examples(torch), path, _use_new_zipfile_serialization=new)
    assert_same(read_torch(path), expected_of_examples())


@beside_torch
def test_safetensors_that_its_own_library_wrote(torch, tmp_path):
    library = pytest.importorskip("safetensors.torch")
    path = tmp_path / "weights.safetensors"
    tensors = {"a": torch.randn(3, 4), "b": torch.randn(5).bfloat16(), "n": torch.tensor(3), "e": torch.zeros(0, 2)}
    library.save_file(tensors, path, metadata={"format": "pt"})
    arrays = read_safetensors(path)
    assert sorted(arrays) == sorted(tensors)
    for name, tensor in tensors.items():
        want = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
        assert arrays[name].dtype == want.dtype
        np.testing.assert_array_equal(arrays[name], want, strict=True)
