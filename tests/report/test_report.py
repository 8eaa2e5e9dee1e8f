"""The report as a file: the same bytes, nothing from elsewhere, whole for any data, honest about gaps."""

import json
import re

import numpy as np
import pytest
from report_page import any_network, blots, make, trained_on_digits

from mnistcore.network.network import Dense
from mnistcore.report import page


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """(network, images, labels, path of the page, its text)"""
    network, images, labels = trained_on_digits()
    path = make(tmp_path_factory.mktemp("digits") / "index.html", network, images, labels, name="digits")
    return network, images, labels, path, path.read_text(encoding="utf-8")


def text_of(html):
    """The words a reader sees, tags and scripts taken out."""
    html = re.sub(r"<(script|style|title)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", html).replace("\u202f", " ").split())


def data_of(html):
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[1]
    )


def small_page(tmp_path, dense=None, count=60, seed=0, **options):
    network = any_network(dense or [Dense(6), Dense(10, "softmax")])
    images = (blots(count, seed=seed) / 255).astype(np.float32)
    labels = options.pop("labels", np.arange(count) % 10)
    return make(tmp_path / "index.html", network, images, labels, **options).read_text(encoding="utf-8")


def test_the_same_bytes_every_time(digits, tmp_path):
    network, images, labels, path, _ = digits
    assert (
        make(tmp_path / "again.html", network, images, labels, name="digits").read_bytes()
        == path.read_bytes()
    )


def test_the_headline(digits):
    network, images, labels, _, html = digits
    errors = int((network.predict(images) != labels).sum())
    words = text_of(html)
    accuracy = f"{100 * (1 - errors / 594):.2f} %"
    for phrase in (
        f"{accuracy} of 594 test images",
        f"{errors} out of 594",
        "64 → 24 relu → 10 softmax",
        "1,810, float32",
    ):
        assert phrase in words


def test_nothing_comes_from_elsewhere(digits):
    html = re.sub(r"url\(data:font/ttf;base64,[A-Za-z0-9+/=]+\)", "", digits[-1])
    assert not re.search(
        r"https?://|//[a-z]|@import|url\(",
        re.sub(r'<script type="text/plain".*?</script>', "", html, flags=re.DOTALL).replace("// ", ""),
    )
    assert "default-src 'none'" in html
    assert not re.search(r'<(?:img|link|script|iframe)[^>]*(?:src|href)="(?!data:,)', html)


def test_every_error_is_in_the_page_under_its_cell(digits):
    network, images, labels, _, html = digits
    predicted, data = network.predict(images), data_of(html)
    for actual in range(10):
        for guess in range(10):
            rows = np.flatnonzero((labels == actual) & (predicted == guess))
            shown = [data["rows"][place] for place in data["cells"][actual][guess]]
            assert data["counts"][actual][guess] == len(rows)
            assert set(shown) <= set(rows.tolist())
            assert len(shown) == (min(len(rows), page.FEWEST_SURE) if actual == guess else len(rows))


def test_more_errors_than_fit_are_thinned_out_evenly(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "MOST_PICTURES", 30)
    monkeypatch.setattr(page, "FEWEST_SURE", 1)
    data = data_of(small_page(tmp_path, count=200))
    sizes = [len(cell) for i, line in enumerate(data["cells"]) for j, cell in enumerate(line) if i != j]
    whole = [count for i, line in enumerate(data["counts"]) for j, count in enumerate(line) if i != j]
    most = max(sizes)
    assert sum(sizes) <= 30 or most == 1
    assert sizes == [min(count, most) for count in whole]


def test_the_tables_repeat_what_the_drawings_show(digits):
    words = text_of(digits[-1])
    for phrase in (
        "epoch train loss train accuracy validation loss validation accuracy learning rate",
        "1 0.5 80.00 %",
    ):
        assert phrase in words
    assert (
        "class precision recall test images" in words
        and "confidence predictions right 95 % interval" in words
    )


def test_parameters_and_provenance(digits):
    words = text_of(digits[-1])
    assert "optimizer.name adam" in words and "layers.1.units 10" in words and "normalization divide" in words
    assert re.search(r"tests/report_page\.py [0-9a-f]{64} ", words)
    assert f"NumPy {np.__version__}" in words


def test_seeds_are_told_where_there_are_several(tmp_path):
    seeds = {"list": [0, 1, 2], "test": {"accuracy": {"mean": 0.98765, "sd": 0.00123, "each": []}}}
    assert "Over 3 seeds 98.77 %, standard deviation 0.12 %" in text_of(
        small_page(tmp_path, more={"seeds": seeds})
    )


def test_no_mistakes_at_all(tmp_path):
    network = any_network([Dense(10, "softmax")])
    images = (blots(40) / 255).astype(np.float32)
    html = make(tmp_path / "index.html", network, images, network.predict(images)).read_text(encoding="utf-8")
    assert "None: every test image was read right." in text_of(html)


def test_one_epoch(tmp_path):
    html = small_page(tmp_path, epochs=1)
    assert "1 epoch." in text_of(html) and "Learning rate" not in text_of(html)


@pytest.mark.parametrize("losses", [[2.0, 1e30, np.inf, np.nan, np.nan], [np.nan] * 5])
def test_training_that_diverged(tmp_path, losses):
    html = small_page(tmp_path, losses=losses)
    assert "no number" in text_of(html) and "NaN" not in json.dumps(data_of(html))


def test_names_of_classes_are_text_and_never_markup(tmp_path):
    names = tuple(f"<b>{name}</script>" for name in range(10))
    html = small_page(tmp_path, classes=names)
    assert "<b>0<" not in html and data_of(html)["classes"] == list(names)


def test_no_pad_where_pictures_are_not_made_of_strokes(tmp_path):
    html = small_page(tmp_path, name="fashion-mnist")
    assert "There is no pad to draw on: the pictures of fashion-mnist are not made of strokes." in text_of(
        html
    )
    assert 'id="pad"' not in html and 'id="layer-0"' not in html


def test_a_network_that_does_not_fit_is_left_out_and_the_page_says_so(tmp_path, monkeypatch):
    whole = small_page(tmp_path, [Dense(120), Dense(10, "softmax")])
    monkeypatch.setattr(page, "LARGEST", len(whole.encode()) - 1)
    html = small_page(tmp_path, [Dense(120), Dense(10, "softmax")])
    assert "its weights do not fit" in text_of(html) and 'id="pad"' not in html
    packed = re.findall(r'<script type="text/plain" id="layer-.*?</script>', whole, re.DOTALL)
    assert len(packed) == 2 and len(html) < len(whole) - sum(map(len, packed))


@pytest.mark.slow
def test_a_network_of_a_million_parameters_fits(tmp_path):
    network = any_network([Dense(1024), Dense(512), Dense(10, "softmax")])
    network.parameters *= 0.4  # as large as He's initial weights: larger ones would need more bits
    images = (blots(1000) / 255).astype(np.float32)
    labels = network.predict(images)
    labels[:100] = (labels[:100] + 1) % 10  # as many errors as a good network makes
    made = make(tmp_path / "index.html", network, images, labels)
    assert 'id="pad"' in made.read_text(encoding="utf-8") and made.stat().st_size < page.LARGEST


@pytest.mark.parametrize(("low", "high"), [(0.01, 0.4), (0.98, 0.98), (0, 1e-9)])
def test_ticks_are_few_and_round_and_enclose(low, high):
    ticks = page._ticks(low, high)
    assert 2 <= len(ticks) <= 8 and ticks[0] <= low and ticks[-1] >= high - 1e-12
    assert len({f"{tick:.4g}" for tick in ticks}) == len(ticks)


@pytest.mark.parametrize(
    ("count", "columns"), [(24, [6, 4, 3]), (12, [6, 4, 3]), (10, [5, 2, 2]), (7, [4, 4, 2])]
)
def test_the_gallery_leaves_no_orphans_where_it_can(count, columns):
    assert [page._columns(count, most) for most in (6, 4, 3)] == columns
    for most, chosen in zip((6, 4, 3), columns, strict=True):
        holes = [-count % number for number in range((most + 1) // 2, most + 1)]
        assert -count % chosen == min(holes)


def test_every_label_of_a_scale_has_as_many_decimals(digits):
    for labels in re.findall(r'<svg class="(?:strip|chart).*?</svg>', digits[-1], re.DOTALL):
        ticks = re.findall(r'class="tick"[^>]*>([\d.]+)\u202f%<', labels)
        assert len({len(tick.partition(".")[2]) for tick in ticks}) <= 1
