"""Files made to do harm: small ones that become large, deep ones, and those that lead to other files."""

import functools
import gzip
import importlib
import io
import json
import pickle
import re
import struct
import tarfile
import zipfile
import zlib

import h5py
import numpy as np
import tifffile
from PIL import Image

from deblurgan.jobs.finding import is_zip
from deblurgan.pictures.formats import is_an_image_file
from deblurgan.pictures.png import SIGNATURE, chunk
from deblurgan.video.containers import is_a_video_file
from tests.faults import pictures, videos, weight_files
from tests.faults.pictures import SOUND, restored
from tests.safetensors_files import with_header
from tests.video.clips import levels, write

DEEP = 100_000
HUGE = 2**31 - 1
LAUGHS = b"<!DOCTYPE x [<!ENTITY a 'ha'>%s]>" % b"".join(
    b"<!ENTITY %c '%s'>" % (inner + 1, b"&%c;" % inner * 10) for inner in b"abcdefgh"
)


def prepare(samples):
    pictures.prepare(samples)
    videos.prepare(samples)
    importlib.import_module("deblurgan.weights.any_file")
    for sample in samples.glob("*.onnx"):  # whose runtimes take memory once
        weight_files.opened(sample / weight_files.main_name(sample))


def png(width, height, *chunks):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes((3 * 4 + 1) * 4)))
    return SIGNATURE + head + b"".join(chunk(*one) for one in chunks) + pixels + chunk(b"IEND", b"")


def saved(file_format, size=(24, 18), **options):
    content = io.BytesIO()
    Image.new("RGB", size, "grey").save(content, format=file_format, **options)
    return content.getvalue()


@functools.cache
def zeros():
    """A gigabyte of zeros, compressed."""
    compressor = zlib.compressobj(1, zlib.DEFLATED, -15)
    pieces = [compressor.compress(bytes(1 << 24)) for _ in range(64)]
    return b"".join([*pieces, compressor.flush()])


def archive(members):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as made:
        for name, data in members.items():
            made.writestr(name, data)
    return content.getvalue()


def member(name, method, packed, unpacked_size):
    """A zip file of one member, compressed already, that says that it unpacks to so many bytes."""
    encoded = name.encode()
    both = struct.pack("<HHHHHIIIHH", 20, 0, method, 0, 33, 0, len(packed), unpacked_size, len(encoded), 0)
    local = b"PK\3\4" + both + encoded + packed
    central = b"PK\1\2" + struct.pack("<H", 20) + both + struct.pack("<HHHII", 0, 0, 0, 0, 0) + encoded
    return local + central + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)


def tiff(**fields):
    """A TIFF file of RGB with other values of these fields, by number."""
    content = io.BytesIO()
    tifffile.imwrite(content, np.zeros((8, 8, 3), np.uint8), photometric="rgb", metadata=None, software=False)
    changed = bytearray(content.getvalue())
    (start,) = struct.unpack_from("<I", changed, 4)
    for entry in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", changed, start)[0], 12):
        tag = f"t{struct.unpack_from('<H', changed, entry)[0]}"
        if tag in fields:
            struct.pack_into("<HII", changed, entry + 2, 4, 1, fields[tag])
    return bytes(changed)


def hostile_pictures():
    text = zlib.compress(b"a" * (1 << 28), 9)
    yield "claims.png", png(60000, 60000)
    yield "profile.png", png(4, 4, (b"iCCP", b"p\0\0" + text))
    yield "text.png", png(4, 4, *[(b"zTXt", b"k%d\0\0" % number + text) for number in range(20)])
    yield "international.png", png(4, 4, (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + text))
    yield "texts.png", png(4, 4, *[(b"tEXt", b"k%d\0v" % number) for number in range(50_000)])
    yield "claims.tif", tiff(t256=60000, t257=60000)
    yield "strip.tif", tiff(t278=HUGE)
    yield "bytes.tif", tiff(t279=HUGE)
    yield "far.tif", tiff(t273=HUGE)
    yield "samples.tif", tiff(t277=65535)
    floats = io.BytesIO()
    tifffile.imwrite(floats, np.zeros((8, 8, 3), np.float32), photometric="rgb", metadata=None)
    for name, (tag, value) in {"wide": (256, 60000), "samples": (277, 60000), "strip": (278, HUGE)}.items():
        content = bytearray(floats.getvalue())
        for entry in range(8 + 2, len(content) - 12, 2):
            if struct.unpack_from("<H", content, entry)[0] == tag and content[entry + 4 : entry + 8] == b"\1\0\0\0":
                struct.pack_into("<HII", content, entry + 2, 4, 1, value)
                break
        yield f"{name}-of-floats.tif", bytes(content)
    yield "loop.tif", b"II*\0\x08\0\0\0\0\0\x08\0\0\0"
    yield (
        "directories.tif",
        b"II*\0\x08\0\0\0"
        + b"".join(struct.pack("<HHHIII", 1, 254, 4, 1, 0, 8 + 18 * number) for number in range(1, 200_000)),
    )
    webp = saved("WEBP", lossless=True)
    canvas = b"VP8X" + struct.pack("<II", 10, 0) + (2**24 - 1).to_bytes(3, "little") * 2
    largest = canvas[:12] + (16383).to_bytes(3, "little") + (16382).to_bytes(3, "little")
    yield "canvas.webp", b"RIFF" + struct.pack("<I", len(webp) + 10) + b"WEBP" + largest + webp[12:]
    yield "claims.webp", b"RIFF" + struct.pack("<I", len(webp) + 10) + b"WEBP" + canvas + webp[12:]
    for name, value in {"side": 2**31, "little": 30000}.items():
        jp2 = bytearray(saved("JPEG2000", no_jp2=True))
        struct.pack_into(">II", jp2, jp2.index(b"\xff\x51") + 6, value, value)
        yield f"{name}.j2k", bytes(jp2)
    boxed = bytearray(saved("JPEG2000"))
    struct.pack_into(">II", boxed, boxed.index(b"\xff\x51") + 6, 30000, 30000)
    yield "code.jp2", bytes(boxed)
    yield "claims.jxl", b"\xff\x0a" + (0b11 << 1 | ((2**30 - 1) << 3)).to_bytes(60, "little")
    for file_format, extension, options in (("HEIF", ".heic", {}), ("AVIF", ".avif", {"speed": 10})):
        for side, told in ((24, 60000), (1500, 24)):
            content = bytearray(saved(file_format, (side, side), quality=10, **options))
            struct.pack_into(">II", content, content.index(b"ispe") + 8, told, told)
            yield f"{side}-told-{told}{extension}", bytes(content)
        content = bytearray(saved(file_format))
        content[:0] = struct.pack(">I4sQ", 1, b"free", 2**60)
        yield f"box{extension}", bytes(content)
    gif = saved("GIF")
    picture = gif[gif.index(b",") : -1]
    yield "frames.gif", gif[: gif.index(b",")] + picture * 50_000 + b";"
    yield "claims.gif", gif[:6] + b"\xff\xff\xff\xff" + gif[10:]
    inner = png(60000, 60000)
    yield "inside.ico", struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(inner), 22) + inner
    yield (
        "claims.psd",
        pictures.psd(np.zeros((1, 1, 3), np.uint8)).replace(
            struct.pack(">II", 1, 1), struct.pack(">II", 30000, 30000)
        ),
    )
    yield "claims.qoi", b"qoif" + struct.pack(">IIBB", 60000, 60000, 3, 0) + b"\xfd" * 1000
    yield "claims.ppm", b"P6 60000 60000 255\n" + bytes(100)
    yield "number.ppm", b"P6 " + b"9" * 10_000_000
    yield "claims.bmp", b"BM" + struct.pack("<IIIIiiHHI", 200, 0, 54, 40, 60000, 60000, 1, 24, 0) + bytes(200)
    jpeg = saved("JPEG")
    at = jpeg.index(b"\xff\xc0") + 5
    yield "claims.jpg", jpeg[:at] + b"\xea\x60\xea\x60" + jpeg[at + 4 :]
    segment = b"\xff\xe2" + struct.pack(">H", 65533) + b"ICC_PROFILE\0\1\1" + bytes(65533 - 2 - 14)
    yield "profiles.jpg", jpeg[:2] + segment * 1000 + jpeg[2:]
    for name, text in {
        "blanks": b" " * 60_000,
        "pointers": b" xmpNote:HasExtendedXMP =" * 2400,
        "companions": b" hdrgm:Version \t" * 4000,
        "turned": b"tiff:Orientation>" * 3500,
    }.items():
        part = b"http://ns.adobe.com/xap/1.0/\0" + text
        yield f"{name}-in-xmp.jpg", jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part + jpeg[2:]
    yield "blanks-in-xmp.png", png(4, 4, (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b" hdrgm:Version" * 300_000))
    loop = b"Exif\0\0II*\0\x08\0\0\0\2\0" + struct.pack("<HHII", 0x8769, 4, 1, 8) * 2 + struct.pack("<I", 8)
    wide = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + struct.pack("<HHII", 0x0110, 2, HUGE, 8) * 5000
    for name, exif in {"loop": loop, "wide": wide[:65000]}.items():
        yield f"{name}-in-exif.jpg", jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
        yield f"{name}-in-exif.png", png(4, 4, (b"eXIf", exif[6:]))
    yield "laughs.svg.png", b"<?xml version='1.0'?>" + LAUGHS + b"<svg>&i;</svg>"
    for shape in ("(1099511627776, 3)", f"({'9' * 5000},)", "(" * 5000):
        head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".encode()
        yield "claims.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head


def hostile_archives():
    deflated = zeros()
    yield "honest.zip", member("a.png", 8, deflated, 2**32 - 2)
    yield "lying.zip", member("a.png", 8, deflated, 100)
    inner = archive({"a.png": deflated})
    for _ in range(5):
        inner = archive({"b.zip": inner, "c.png": inner})
    yield "nested.zip", inner
    yield "many.zip", archive({f"{number}.png": b"" for number in range(5000)})
    yield "slip.zip", archive({"../../../a.png": saved("PNG"), "/b.png": saved("PNG")})


def hostile_videos(folder):
    """Boxes of an MP4 file that claim much, and frames that do."""
    frames = levels(6, (32, 24))
    content = write(folder / "a.mp4", frames).read_bytes()
    for name, box, at, value in (
        ("long", b"mvhd", 20, 2**32 - 1),
        ("unit", b"mvhd", 16, 0),
        ("unit-of-track", b"mdhd", 16, 0),
        ("long-track", b"mdhd", 20, 2**32 - 1),
        ("samples", b"stsz", 12, 2**32 - 1),
        ("times", b"stts", 8, 2**32 - 1),
        ("length", b"stts", 12, 2**32 - 1),
        ("step", b"stts", 16, 2**31 - 1),
        ("chunks", b"stco", 8, 2**32 - 1),
        ("side", b"tkhd", 80, 2**32 - 1),
        ("edit", b"elst", 12, 2**32 - 1),
        ("data", b"mdat", 0, 2**32 - 1),
    ):
        changed = bytearray(content)
        struct.pack_into(">I", changed, changed.index(box) + (at or -4), value)
        yield f"{name}.mp4", bytes(changed)
    motion = write(folder / "a.avi", frames, codec="mjpeg", pix_fmt="yuvj420p").read_bytes()
    for side in (16000, 65000):
        yield (
            f"{side}.avi",
            re.sub(rb"(\xff\xc0..\x08)....", rb"\1" + struct.pack(">HH", side, side), motion, flags=re.S),
        )
    large = write(folder / "b.mp4", [np.zeros((4096, 4096, 3), np.uint8)], options={"preset": "ultrafast"})
    yield "large.mp4", large.read_bytes()
    for path in folder.iterdir():
        path.unlink()


def hdf5(fill):
    """The content of an HDF5 file of Keras 2 that `fill` writes into."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        fill(file)
    return content.getvalue()


def of_shape(*shape, **options):
    """A file of one layer whose kernel has this shape, and no values."""

    def fill(file):
        file.attrs["layer_names"] = [b"conv2d"]
        group = file.create_group("conv2d")
        group.attrs["weight_names"] = [b"conv2d/kernel:0"]
        group.create_dataset("conv2d/kernel:0", shape, "float32", **options)

    return hdf5(fill)


def nested_groups(file):
    file.attrs["layer_names"] = [b"a"]
    group = file
    for _ in range(2000):
        group = group.create_group("a")


def labelled(about):
    def fill(file):
        file.attrs["deblurgan"] = about
        file.create_dataset("layers/conv2d/vars/0", data=np.zeros((1, 1, 3, 3), np.float32))

    return hdf5(fill)


def keras_archive(config, weights=b""):
    return archive({"config.json": config, "metadata.json": b"{}", "model.weights.h5": weights})


def tuples(depth):
    """A pickle that says what unfolds to 2**depth values."""
    return b"\x80\x02)" + b"q\0h\0\x86" * depth + b"."


def torch(program, **members):
    return archive({"a/data.pkl": program, **{f"a/data/{key}": data for key, data in members.items()}})


def tensor(numel, size, stride=(1,)):
    """A pickle of one tensor of these numbers."""

    def integer(value):
        return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)

    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu" + integer(numel) + b"tQ"
    shape, steps = (b"(" + b"".join(map(integer, numbers)) + b"t" for numbers in (size, stride))
    call = b"ctorch._utils\n_rebuild_tensor\n(" + storage + integer(0) + shape + steps + b"tR"
    return b"\x80\x02}X\1\0\0\0w" + call + b"s."


def hostile_weights():
    deep_json = b"[" * DEEP
    yield "claims.h5", of_shape(2**20, 2**20, chunks=(16, 16))
    yield "fill.h5", of_shape(2**29, chunks=(2**20,), fillvalue=1.0)
    yield "contiguous.h5", of_shape(2**40)
    yield "chunk.h5", of_shape(2**27, chunks=(2**27,), compression="gzip")
    yield "groups.h5", hdf5(nested_groups)
    yield "deep.weights.h5", labelled(deep_json[:60_000])
    for number, options in enumerate(({"width": 10**6}, {"width": 1, "middle_blocks": 10**9}, {"width": 2**62})):
        about = {"network": "nafnet", "role": "generator", "options": options}
        yield f"options-{number}.weights.h5", labelled(json.dumps(about))
    yield "deep.keras", keras_archive(deep_json)
    layer = {"module": "keras.layers", "class_name": "Dense", "config": {"name": "d", "units": 2**33}}
    layer["build_config"] = {"input_shape": [None, 2**10]}
    of_keras = {
        "dense": layer,
        "saved-model": {"class_name": "TFSMLayer", "config": {"filepath": "/etc"}},
        "lookup": {"class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}},
        "lambda": {"class_name": "Lambda", "config": {"function": "os.system"}},
        "torch": {"class_name": "TorchModuleWrapper", "config": {"module": "gASVAAA="}},
    }
    for name, one in of_keras.items():
        config = {"name": "nafnet", "layers": [{"module": "keras.layers", "registered_name": None, **one}]}
        about = json.dumps({"module": "keras", "class_name": "Sequential", "config": config})
        yield f"{name}.keras", keras_archive(about, of_shape(2, 2))
    yield "config.keras", member("config.json", 8, zeros(), 2**31)
    yield "weights.keras", member("model.weights.h5", 8, zeros(), 2**31)
    yield "lying.keras", member("model.weights.h5", 8, zeros(), 100)
    yield "tuples.pth", torch(tuples(100))
    yield "lists.pth", torch(b"\x80\x02" + b"]" * 1_000_000 + b"a" * 999_999 + b".")
    yield "marks.pth", torch(b"\x80\x02" + b"(" * 1_900_000 + b"t" * 1_900_000 + b".")
    yield "long.pth", torch(b"\x80\x02\x8b" + struct.pack("<i", HUGE) + b"1.")
    yield "number.pth", torch(b"\x80\x02L" + b"9" * 5_000_000 + b"L\n.")
    yield "bytes.pth", torch(b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b".")
    yield "self.pth", torch(b"\x80\x02}q\0X\1\0\0\0ah\0s.")
    yield "storage.pth", torch(tensor(2**60, (2**60,)), **{"0": b"1234"})
    yield "view.pth", torch(tensor(1, (2**40,), (0,)), **{"0": b"1234"})
    yield "packed.pth", member("a/data.pkl", 8, zeros(), 2**31)
    yield (
        "old.pth",
        pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + b"\x80\x02}." + tuples(100) + b"\x80\x02].",
    )
    yield "header.safetensors", struct.pack("<Q", 2**60) + b"{}"
    yield "deep.safetensors", with_header(b'{"a":' + deep_json)
    for name, shape in {"shape": [2**62, 4], "none": [0, 2**62], "many": [1] * 10_000}.items():
        entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}
        yield f"{name}.safetensors", with_header({"a": entry})
    flax_name = "opt/target/stage_0_input_conv_0/kernel.npy"
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }"
    array = b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head
    yield "claims.npz", archive({flax_name: array})
    yield "lying.npz", member(flax_name, 8, zeros(), 1000)
    yield "packed.npz", member(flax_name, 8, zeros(), 2**31)
    yield "zeros.tgz", b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + zeros() + bytes(8)
    yield "members.tgz", gzip.compress(tar(10**9 * 4))
    yield "slip.tgz", gzip.compress(tar(4, "../../model.json"))
    for name in ("laughs", "elsewhere"):
        within = LAUGHS if name == "laughs" else b'<!DOCTYPE net [<!ENTITY h SYSTEM "file:///etc/passwd">]>'
        yield f"{name}.xml", b'<?xml version="1.0"?>' + within + b'<net name="&h;" version="11"><layers/></net>'
    nested = b"<a>" * DEEP
    yield "deep.xml", b'<?xml version="1.0"?><net name="n" version="11"><layers>' + nested
    constant = (
        b'<layer id="0" name="c" type="Const" version="opset1"><data element_type="f32" shape="%s" offset="0" '
        b'size="%d"/><output><port id="0" precision="FP32"><dim>1</dim></port></output></layer>'
    )
    for name, shape, size in (("size", b"1", 2**60), ("shape", b"1099511627776", 2**42)):
        layers = b"<layers>" + constant % (shape, size) + b"</layers><edges/>"
        yield f"{name}.xml", b'<?xml version="1.0"?><net name="n" version="11">' + layers + b"</net>"
    yield "deep.json", deep_json
    yield "number.json", b'{"steps": 1' + b"0" * 4000 + b"}"
    yield "infinite.json", b'{"steps": 1e999, "batch_size": Infinity}'
    yield "options.json", b'{"network_options": {"width": 1e308}, "losses": {"l1": NaN}}'


def tar(size, name="package/model.json"):
    """The start of an archive with one file of so many bytes."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf() + b"{}" + bytes(510) + bytes(1024)


def hostile_folders():
    """Several files together: what the first of them leads to is outside."""
    deep = b'{"modelTopology": {"node": []}, "weightsManifest": '
    yield "model.json", {"model.json": deep + b"[" * DEEP}
    for path in ("../secret", "/etc/passwd", "a/../../secret"):
        group = {"paths": [path], "weights": [{"name": "a", "dtype": "uint8", "shape": [4]}]}
        model = {"modelTopology": {"node": []}, "weightsManifest": [group]}
        yield "tfjs", {"tfjs/model.json": json.dumps(model).encode(), "secret": b"1234"}
    for constant in ([2**40], [2**62, 2**62], [0, 2**63]):
        group = {"paths": ["s"], "weights": [{"name": "a", "dtype": "float32", "shape": constant}]}
        model = {"modelTopology": {"node": []}, "weightsManifest": [group]}
        yield "claims", {"claims/model.json": json.dumps(model).encode(), "claims/s": b"1234"}
    for note in ("../../secret", "/etc/passwd"):
        yield "run", {"run/checkpoint": f'model_checkpoint_path: "{note}"\n'.encode(), "run/a.index": b"1" * 100}


def hostile_graphs():
    """ONNX: values from another file, and values that are claimed."""
    from onnx import TensorProto, helper

    for name, location, dims in (
        ("elsewhere", "../secret.bin", [4]),
        ("absolute", "/etc/passwd", [4]),
        ("beside", "secret.bin", [4]),
        ("claims", "", [2**40]),
    ):
        values = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims)
        if location:
            values.data_location = TensorProto.EXTERNAL
            values.external_data.add(key="location", value=location)
        graph = helper.make_graph(
            [helper.make_node("Add", ["x", "w"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
            [values],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        yield f"{name}.onnx", {f"{name}.onnx": model.SerializeToString(), "secret.bin": b"1" * 16}


def write_samples(folder):
    """Write a folder for each, named by its number and the file that is opened."""
    made = [*hostile_pictures(), *hostile_archives(), *hostile_videos(folder), *hostile_weights()]
    made += [*hostile_folders(), *hostile_graphs()]
    for number, (name, content) in enumerate(made):
        for part, data in (content if isinstance(content, dict) else {name: content}).items():
            path = folder / f"{number:03} {name}" / part
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def attempt(number, samples, folder):
    """Open the file by its own name; nothing may be written elsewhere."""
    sample = sorted(samples.iterdir())[number]
    path, other = sample / weight_files.main_name(sample), folder / SOUND
    if is_a_video_file(path) or is_an_image_file(path) or is_zip(path):
        other.write_bytes(saved("PNG"))
        outcome = restored(path, other, folder / "out", max_pixels=None)
        assert {each.name for each in folder.iterdir()} <= {"out", SOUND}
        return outcome
    if path.suffix == ".npy":
        return pictures.read_array(path)
    return weight_files.opened(path)
