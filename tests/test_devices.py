import os
import subprocess
import sys
import tempfile
import types

import pytest

from deblurgan import devices
from deblurgan.devices import choose_kernels, cpu_has_bfloat16, describe, policy, resolve_precision
from deblurgan.errors import FileError, InputError

X86 = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Processor
bugs\t\t: spectre_v1 bf16
flags\t\t: fpu vme sse2 avx2 avx512f avx512bw {} arch_capabilities

processor\t: 1
"""
ARM = """processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd evtstrm aes sha1 asimddp {} dcpodp
CPU implementer\t: 0x41
"""


@pytest.fixture
def cpuinfo(monkeypatch):
    """A function that pretends a processor, by what the system's file says of it."""
    return lambda text: monkeypatch.setattr(
        devices.Path, "read_text", lambda path, **_: {"/proc/cpuinfo": text}[str(path)]
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (X86.format("avx512_bf16"), True),
        (X86.format("amx_bf16 amx_tile"), True),
        (X86.format("avx512_vnni"), False),
        (X86.format("avx512_bf16_not"), False),
        (ARM.format("bf16"), True),
        (ARM.format("i8mm svebf16x"), False),
        ("", False),
        ("flags", False),
        ("model name\t: bf16\n", False),
    ],
)
def test_cpu_has_bfloat16_reads_the_processors_flags(cpuinfo, text, expected, monkeypatch):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    cpuinfo(text)
    assert cpu_has_bfloat16() is expected


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("AVX2", False), ("avx2_vnni_2", False), ("SSE41", False), ("AVX512_CORE", False), ("AVX512_CORE_BF16", True)],
)
def test_a_limit_set_for_onednn_holds_for_bfloat16(monkeypatch, cpuinfo, limit, expected):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    cpuinfo(X86.format("avx2 avx512f avx512_bf16 amx_bf16"))
    assert cpu_has_bfloat16() is expected


def test_a_system_without_cpuinfo_counts_as_no(monkeypatch):
    def missing(path, **_):
        raise FileNotFoundError(path)

    monkeypatch.setattr(devices.Path, "read_text", missing)
    assert cpu_has_bfloat16() is False


@pytest.mark.parametrize(
    ("flags", "environment", "expected"),
    [
        ("sse4_2 avx avx2 fma avx_vnni", {}, "0"),  # a processor for laptops: TensorFlow's own choice would be 1
        ("sse4_2 avx avx2 fma", {}, "0"),
        ("sse4_2 avx avx2 fma avx512f avx512_vnni", {}, None),  # TensorFlow chooses
        ("sse4_2 avx avx2 fma avx512f avx512_vnni", {"ONEDNN_MAX_CPU_ISA": "AVX2_VNNI"}, "0"),
        ("sse4_2 avx avx2 fma avx512f avx512_vnni", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}, None),
        ("sse4_2 avx avx2 fma avx_vnni", {"TF_ENABLE_ONEDNN_OPTS": "1"}, "1"),
        ("fp asimd bf16", {}, None),
    ],
)
def test_onednn_is_used_where_its_convolutions_are_fast(monkeypatch, cpuinfo, flags, environment, expected):
    for name in ("TF_ENABLE_ONEDNN_OPTS", "ONEDNN_MAX_CPU_ISA"):
        monkeypatch.setenv(name, "")  # so that what the call sets is taken back after the test
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    cpuinfo(f"flags\t\t: {flags}\n")
    choose_kernels()
    assert os.environ.get("TF_ENABLE_ONEDNN_OPTS") == expected


@pytest.fixture
def machine(monkeypatch):
    """A function that pretends a machine: its CPU has bfloat16 or not, its GPU a compute capability or none."""

    def pretend(*, bfloat16=False, capability=None):
        gpus = () if capability is None else ("Some GPU",)
        tensorflow = types.SimpleNamespace(
            config=types.SimpleNamespace(
                list_physical_devices=lambda kind: ["gpu:0"] if kind == "GPU" and gpus else [],
                experimental=types.SimpleNamespace(
                    get_device_details=lambda gpu: {"device_name": "Some GPU", "compute_capability": capability},
                    set_memory_growth=lambda gpu, enable: None,
                ),
            )
        )
        monkeypatch.setitem(sys.modules, "tensorflow", tensorflow)
        monkeypatch.setattr(devices, "gpu_names", lambda: gpus)
        monkeypatch.setattr(devices, "cpu_has_bfloat16", lambda: bfloat16)
        monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)

    return pretend


MACHINES = [
    ({"bfloat16": True}, "bfloat16"),
    ({"bfloat16": False}, "float32"),
    ({"capability": (9, 0)}, "bfloat16"),
    ({"capability": (8, 0)}, "bfloat16"),
    ({"capability": (7, 5)}, "float16"),
    ({"capability": (6, 1)}, "float32"),
    ({"capability": (6, 1), "bfloat16": True}, "float32"),
]


@pytest.mark.parametrize(("hardware", "expected"), MACHINES)
def test_auto_is_the_fastest_precision_that_the_machine_has(machine, hardware, expected):
    machine(**hardware)
    assert resolve_precision("auto") == expected


def test_auto_is_float32_without_onednn(machine, monkeypatch):
    machine(bfloat16=True)
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert resolve_precision("auto") == "float32"


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("hardware", [{"bfloat16": True}, {"bfloat16": False}, {"capability": (7, 5)}])
def test_a_named_precision_is_taken_as_it_is(machine, hardware, precision):
    machine(**hardware)
    assert resolve_precision(precision) == precision


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        ("float32", "float32"),
        ("bfloat16", "mixed_bfloat16"),
        ("float16", "mixed_float16"),
        ("auto", "mixed_bfloat16"),
    ],
)
def test_policy_is_kerases_name_for_computing_in_it_with_float32_variables(machine, precision, expected):
    machine(bfloat16=True)
    assert policy(precision) == expected


@pytest.mark.parametrize("name", ["half", "mixed_bfloat16", "", "Float32", None])
@pytest.mark.parametrize("function", [resolve_precision, policy, describe])
def test_an_unknown_precision_is_refused(machine, function, name):
    machine()
    with pytest.raises(InputError, match="precision: expected one of auto, float32, bfloat16, float16, received"):
        function(name)


def test_describe_names_the_device_and_the_precision(machine):
    machine(bfloat16=False)
    assert describe("auto").startswith("CPU (")
    assert describe("auto").endswith(", float32")
    machine(capability=(7, 5))
    assert describe("auto") == "GPU Some GPU, float16"
    assert "\n" not in describe("auto")


# The user's own settings of Keras


@pytest.fixture
def keras_settings(tmp_path, monkeypatch):
    """A function that writes `keras.json`, as it stands before Keras is imported."""
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return lambda text: (tmp_path / "keras.json").write_text(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"backend": "jax"}', "the backend tensorflow, which this needs, found jax; set the environment "),
        ('{"image_data_format": "channels_first"}', "the image_data_format channels_last, found channels_first; "),
    ],
)
def test_other_settings_of_keras_are_named_with_what_to_change(keras_settings, text, expected):
    keras_settings(text)
    with pytest.raises(InputError, match=f"^Keras: expected {expected}"):
        devices.require_tensorflow()


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"backend": "tensorflow", "image_data_format": "channels_last"}'])
def test_settings_of_keras_that_fit_or_say_nothing_are_taken(keras_settings, text):
    keras_settings(text)
    devices.require_tensorflow()


def test_the_environment_decides_before_the_file(keras_settings, monkeypatch):
    keras_settings('{"backend": "jax"}')
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    devices.require_tensorflow()
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    with pytest.raises(InputError, match="found torch"):
        devices.require_tensorflow()


def run(code, environment):
    """Standard output of a new process that runs `code` and ends well."""
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


STARTED = """
from deblurgan.devices import start_quietly
start_quietly()
import keras
print(keras.config.backend(), keras.config.image_data_format(), keras.config.floatx())
"""


def test_a_program_of_this_package_does_not_mind_what_keras_json_says(tmp_path):
    text = '{"backend": "jax", "image_data_format": "channels_first", "floatx": "float16"}'
    (tmp_path / "keras.json").write_text(text)
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    environment["KERAS_HOME"] = str(tmp_path)
    assert run(STARTED, environment) == "tensorflow channels_last float32\n"


def test_a_keras_json_that_keras_cannot_read_is_named(tmp_path):
    (tmp_path / "keras.json").write_text('{"floatx": "half"}')
    code = """
from deblurgan.devices import start_quietly
try:
    start_quietly()
except ValueError as error:
    print(error)
"""
    said = run(code, os.environ | {"KERAS_HOME": str(tmp_path)})
    assert said.startswith(f"{tmp_path / 'keras.json'}: Keras cannot be started with what this file says: ")


# Machines on which something is missing


def test_tensorflow_starts_without_standard_error():
    assert run(f"import os, sys; os.close(2); sys.stderr = None\n{STARTED}", os.environ).startswith("tensorflow")


def test_a_machine_without_a_folder_for_temporary_files_is_told_which_setting_names_one(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", list)
    with pytest.raises(FileError, match="none that can be written to; set the environment variable TMPDIR"):
        devices.start_quietly()
