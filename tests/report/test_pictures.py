"""Any picture of a character becomes one as the data set has them, or one clear line says why not."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mnistcore.errors import InputError
from mnistcore.report.framing import frame_of
from mnistcore.report.pictures import read_digits

MNIST = frame_of((28, 28))
SEVEN = [(0.2, 0.15), (0.8, 0.15), (0.45, 0.85)]


def draw(size=(300, 300), width=26, ink=0, paper=255, mode="L", points=SEVEN):
    picture = Image.new(mode, size, paper)
    ImageDraw.Draw(picture).line([(x * size[0], y * size[1]) for x, y in points], ink, width, "curve")
    return picture


def saw(path):
    """The one digit in it."""
    (seen,) = read_digits(path, MNIST)
    return seen


@pytest.fixture
def plain(tmp_path):
    path = tmp_path / "plain.png"
    draw().save(path)
    return saw(path)


def alike(one, other, at_most=12):
    """The same picture but for rounding and what lossy formats do."""
    return np.abs(one.astype(int) - other).max() <= at_most


def strokes_of_mnist(generator, images=40):
    """Pictures that obey the data set's rules: a 20 x 20 box, its centre of mass at row and column 14."""
    made = []
    while len(made) < images:
        glyph = np.zeros((20, 20), np.uint8)
        row, column = generator.integers(20, size=2)
        for _ in range(60):
            row, column = np.clip((row, column) + generator.integers(-1, 2, size=2) * (1, 1), 0, 19)
            glyph[row : row + 2, column : column + 2] = 255
        glyph[0, generator.integers(20)] = glyph[19, generator.integers(20)] = 255
        faint = generator.integers(20, size=(30, 2))
        glyph[faint[:, 0], faint[:, 1]] |= generator.integers(1, 255, 30).astype(np.uint8)
        mass = glyph.astype(float)
        top = round(14 - (mass.sum(1) @ np.arange(20)) / mass.sum())
        left = round(14 - (mass.sum(0) @ np.arange(20)) / mass.sum())
        columns = np.flatnonzero(glyph.any(0))
        if 0 <= top <= 8 and left + columns[0] >= 0 and left + columns[-1] < 28 and 0 <= left <= 8:
            picture = np.zeros((28, 28), np.uint8)
            picture[top : top + 20, left : left + 20] = glyph
            made.append(picture)
    return made


def test_a_picture_that_obeys_mnist_s_rules_comes_out_as_it_went_in(tmp_path):
    for number, picture in enumerate(strokes_of_mnist(np.random.default_rng(0))):
        for kind, pixels in (("as it is", picture), ("turned over", 255 - picture)):
            path = tmp_path / f"{number}.png"
            Image.fromarray(pixels).save(path)
            np.testing.assert_array_equal(saw(path), picture, err_msg=kind)


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        ("light on dark", draw(ink=255, paper=0)),
        ("pale pencil", draw(ink=190, paper=235)),
        ("colours", draw(mode="RGB", ink=(20, 30, 120), paper=(255, 250, 240))),
        ("palette", draw().convert("P")),
        ("one bit", draw().convert("1")),
        ("cmyk", draw(mode="RGB", ink=(0, 0, 0), paper=(255, 255, 255)).convert("CMYK")),
        ("grey with alpha", draw().convert("LA")),
        ("black on transparency", draw(mode="RGBA", ink=(0, 0, 0, 255), paper=(0, 0, 0, 0))),
        ("white on transparency", draw(mode="RGBA", ink=(255, 255, 255, 255), paper=(255, 255, 255, 0))),
        ("large", draw(size=(3000, 3000), width=260)),
        (
            "off centre",
            Image.fromarray(np.pad(np.asarray(draw()), ((10, 90), (200, 0)), constant_values=255)),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_same_strokes_look_the_same_however_they_are_stored(tmp_path, plain, name, picture):
    path = tmp_path / ("picture.tif" if name == "cmyk" else "picture.png")
    picture.save(path)
    assert alike(saw(path), plain, 40 if name == "large" else 12)  # ten times the pixels, finer edges


def test_sixteen_bits_and_floats(tmp_path, plain):
    pixels = np.asarray(draw())
    for suffix, values in ((".png", pixels.astype(np.uint16) * 257), (".tif", pixels / np.float32(255))):
        path = tmp_path / f"deep{suffix}"
        Image.fromarray(values).save(path)
        assert alike(saw(path), plain, 2)


def test_a_card_with_a_character_on_transparency_is_not_ink_itself(tmp_path, plain):
    card = Image.new("RGBA", (400, 400), (0, 0, 0, 0))
    card.paste(draw().convert("RGBA"), (50, 50))
    card.save(tmp_path / "card.png")
    assert alike(saw(tmp_path / "card.png"), plain)


def test_a_camera_s_note_of_how_it_was_held_is_followed(tmp_path):
    upright = draw(size=(300, 200))
    exif = upright.getexif()
    exif[0x0112] = 6  # "rotate a quarter turn clockwise to see it upright"
    upright.save(tmp_path / "upright.png")
    upright.rotate(90, expand=True).save(tmp_path / "held.jpg", exif=exif, quality=95)
    assert alike(saw(tmp_path / "held.jpg"), saw(tmp_path / "upright.png"), 60)


def test_of_an_animation_the_first_frame_counts(tmp_path, plain):
    draw().save(tmp_path / "a.gif", save_all=True, append_images=[draw(points=[(0.1, 0.1), (0.9, 0.9)])])
    assert alike(saw(tmp_path / "a.gif"), plain)


def test_noise_and_uneven_light_of_a_photograph_are_not_ink(tmp_path, plain):
    generator = np.random.default_rng(0)
    pixels = np.asarray(draw(size=(900, 900), width=78, ink=60, paper=200)).astype(float)
    pixels = pixels * np.linspace(0.85, 1.1, 900) + generator.normal(0, 6, pixels.shape)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / "photo.jpg", quality=75)
    assert np.corrcoef(saw(tmp_path / "photo.jpg").ravel(), plain.ravel())[0, 1] > 0.95


def refused(path):
    with pytest.raises(InputError) as caught:
        saw(path)
    line = str(caught.value)
    assert "\n" not in line and str(path) in line
    return line


def test_what_is_no_picture_ends_with_one_line(tmp_path):
    (tmp_path / "notes.png").write_text("not a picture")
    (tmp_path / "empty.png").touch()
    assert "not a picture" in refused(tmp_path / "notes.png")
    assert "empty" in refused(tmp_path / "empty.png")
    assert "no such file" in refused(tmp_path / "nowhere.png")
    assert "folder" in refused(tmp_path)


@pytest.mark.parametrize(
    "picture",
    [
        Image.new("L", (40, 40), 200),
        Image.new("RGBA", (40, 40), (0, 0, 0, 0)),
        Image.new("F", (9, 9)),
        Image.new("L", (1, 1)),
    ],
)
def test_a_blank_picture_ends_with_one_line(tmp_path, picture):
    path = tmp_path / "blank.tif"
    picture.save(path)
    assert "blank" in refused(path)


def test_a_picture_of_absurd_size_is_refused_before_it_is_decoded(tmp_path):
    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    for side in (11_000, 40_000, 2**31 - 1):
        header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
        path = tmp_path / f"{side}.png"
        path.write_bytes(
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
        )
        assert "too many" in refused(path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path, kind):
    generator = np.random.default_rng(1)
    stored = io.BytesIO()
    draw(size=(40, 40), width=5).convert("RGB").save(stored, kind)
    whole, path = np.frombuffer(stored.getvalue(), np.uint8), tmp_path / "damaged"
    for _ in range(60):
        damaged = whole[: generator.integers(1, len(whole) + 1)].copy()
        damaged[generator.integers(len(damaged), size=3)] = generator.integers(256, size=3)
        path.write_bytes(damaged.tobytes())
        try:
            seen = read_digits(path, MNIST)
        except InputError as error:
            line = str(error)
        else:
            line = ""
            assert seen and all(one.shape == (28, 28) for one in seen)
        assert "\n" not in line
