"""The pictures of the page in docs/images: `python -m tests.serving.pictures docs/images`. Needs Debian's `chromium`.

The page, the app and the packaged model are the real ones; lithium fluoride of the sample is given to them. With
`--states` every state of the page is drawn in each colour scheme and width, for a person to look at.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from rhoray.density.vasp import write_chgcar
from rhoray.sources.items import sample_uri
from rhoray.store.manifest import read_manifest
from rhoray.store.shards import read_shard, row_density
from tests.serving.local_model import LocalModel, serving

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PATIENCE = 60_000  # ms; software drawing on a busy machine
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
CRYSTAL = "mp-1138"  # LiF
OTHERS = 4


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a screen."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def give(page: Page, *paths: Path) -> None:
    """Choose files."""
    page.set_input_files("#files", list(paths))


def shown(page: Page) -> Page:
    """Wait for a crystal, drawn."""
    expect(page.locator(".properties")).to_be_visible(timeout=PATIENCE)
    expect(page.locator(".scene canvas")).to_be_visible(timeout=PATIENCE)
    page.wait_for_timeout(400)
    return page


def write_files(folder: Path) -> list[Path]:
    """Return CHGCARs of the crystal and of some others, under names as people have them, and a photo."""
    rows = [row for uri in read_manifest(sample_uri()).shards for row in read_shard(uri)]
    chosen = [row for row in rows if row["material_id"] == CRYSTAL] + rows[:: len(rows) // OTHERS][:OTHERS]
    for row in chosen:
        (folder / f"{row['material_id']}_CHGCAR").write_text(write_chgcar(row_density(row)))
    (folder / "photo of the notebook, page 12.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(200))
    long_name = folder / f"{CRYSTAL}_relaxed_PBE_520eV_gamma-centred-12x12x12_final.CHGCAR"
    long_name.write_bytes((folder / f"{CRYSTAL}_CHGCAR").read_bytes())
    return [folder / f"{row['material_id']}_CHGCAR" for row in chosen] + [long_name, *folder.glob("*.jpg")]


@contextmanager
def page_of(browser: Browser, url: str, scheme: str, size: dict[str, int]) -> Iterator[Page]:
    """A page of one colour scheme and size."""
    context = browser.new_context(color_scheme=scheme, viewport=size, device_scale_factor=1)
    page = context.new_page()
    page.goto(url)
    yield page
    context.close()


def write_pictures(browser: Browser, url: str, files: list[Path], out: Path) -> None:
    """Write what docs/images holds."""
    for name, scheme, size in (
        ("page-light", "light", DESKTOP),
        ("page-dark", "dark", DESKTOP),
        ("page-phone-dark", "dark", PHONE),
    ):
        with page_of(browser, url, scheme, size) as page:
            give(page, files[0])
            shown(page).screenshot(path=out / f"{name}.png", full_page=True)


def write_states(browser: Browser, url: str, files: list[Path], out: Path) -> None:
    """Write one picture of each state of the page, colour scheme and width."""
    for scheme in ("light", "dark"):
        for name, size in (("desktop", DESKTOP), ("phone", PHONE)):
            with page_of(browser, url, scheme, size) as page:

                def draw(state: str, page: Page = page, kind: str = f"{name}-{scheme}") -> None:
                    page.screenshot(path=out / f"{kind}-{state}.png", full_page=True)

                draw("empty")
                page.route("**/v1/view", lambda _: None)
                give(page, files[0])
                page.wait_for_timeout(300)
                draw("waiting")
                page.unroute("**/v1/view")
                give(page, files[-2])
                shown(page)
                draw("one")
                give(page, *files)
                expect(page.locator("#list-title")).to_contain_text(f"{len(files)} of", timeout=PATIENCE)
                shown(page)
                draw("several")
                give(page, files[-1])
                expect(page.get_by_role("alert")).to_be_visible(timeout=PATIENCE)
                draw("refused")


def main() -> None:
    """Serve the page and draw it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--states", action="store_true", help="every state instead of the pictures of the docs")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, serving(LocalModel()) as url, chromium() as browser:
        write = write_states if args.states else write_pictures
        write(browser, url, write_files(Path(folder)), args.out)


if __name__ == "__main__":
    main()
