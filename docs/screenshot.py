"""Makes docs/report.png, the picture that README.md opens with: `python docs/screenshot.py`.

Opens reports/index.html in chromium, draws a digit on its pad, and keeps what
one then sees first. It takes a browser, so the picture is no stage of the pipeline.
"""

import io
import math
import re
import shutil
import sys
from pathlib import Path

import click
from PIL import Image, PngImagePlugin
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
REPORT, PICTURE = ROOT / "reports" / "index.html", ROOT / "docs" / "report.png"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--no-first-run",
]
# A 3, in parts of the pad's width and height: two arcs, (x, y) of the centre, radii, angles from where to where.
ARCS = [((0.47, 0.34), (0.17, 0.15), (-2.5, 1.45)), ((0.47, 0.65), (0.21, 0.17), (-1.45, 2.5))]


def stroke() -> list[tuple[float, float]]:
    """The points of the digit, in the order of drawing."""
    return [
        (x + across * math.cos(angle), y + down * math.sin(angle))
        for (x, y), (across, down), (first, last) in ARCS
        for angle in (first + (last - first) * part / 40 for part in range(41))
    ]


@click.command()
@click.option("--report", type=click.Path(path_type=Path, exists=True), default=REPORT, help="The page.")
@click.option("--output", type=click.Path(path_type=Path), default=PICTURE, help="Where the picture goes.")
def main(report: Path, output: Path) -> None:
    """Take the README's picture of the report."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not browser:
        click.echo(
            "screenshot: no chromium on this machine; install it (Debian: apt-get install chromium)", err=True
        )
        sys.exit(2)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=browser, headless=True, args=FLAGS)
        page = started.new_page(
            viewport={"width": 1280, "height": 1100}, device_scale_factor=1.5, color_scheme="light"
        )
        page.goto(report.resolve().as_uri())
        pad = page.locator("#pad").bounding_box()
        points = [(pad["x"] + x * pad["width"], pad["y"] + y * pad["height"]) for x, y in stroke()]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point)
        page.mouse.up()
        page.mouse.move(0, 0)
        page.locator("#pad").blur()  # the ring of the focus is no part of the picture
        errors = page.locator('a[href="#mistakes"]', has_text=re.compile(r"^[\d,]+$")).first.inner_text()
        below = page.locator("#learning").bounding_box()["y"]
        shot = page.screenshot(clip={"x": 0, "y": 0, "width": 1280, "height": min(below, 1100)})
        started.close()
    picture = Image.open(io.BytesIO(shot)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    metadata = PngImagePlugin.PngInfo()
    metadata.add_text("Description", f"{errors} errors")  # so that a test can tell which report it shows
    picture.save(output, optimize=True, pnginfo=metadata)
    click.echo(
        f"screenshot: {output}: {picture.width} × {picture.height}, {output.stat().st_size / 1e3:.0f} kB"
    )


if __name__ == "__main__":
    main(prog_name="screenshot")
