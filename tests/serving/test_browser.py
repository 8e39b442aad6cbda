"""The page in a real browser, with the real app and the packaged model behind it; only Ray is left out.

Needs Debian's `chromium` (or any Chromium on PATH): without one these tests are skipped.
"""

import json

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.serving import pictures
from tests.serving.local_model import serving
from tests.serving.pictures import CHROMIUM, PATIENCE, give, shown

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH: apt-get install chromium")

OPENS = "open-sesame"


@pytest.fixture(scope="module")
def chromium():
    with pictures.chromium() as browser:
        yield browser


@pytest.fixture
def open_page(chromium, url):
    """Open the page; what it logs as an error, or asks of another host, fails the test."""
    contexts, wrong = [], []

    def check(request):
        if not request.url.startswith((url, "data:", "blob:")):
            wrong.append(f"asked {request.url}")

    def opened(address=url, *, path="/", **options):
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(f"error {error}"))
        page.on("console", lambda m: wrong.append(f"console {m.text}") if "Content Security" in m.text else None)
        if address == url:
            page.on("request", check)
        page.goto(f"{address}{path}")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


def asked(url, path, file):
    """What the endpoint answers without a page."""
    return httpx.post(f"{url}{path}", files={"file": file.read_bytes()}, timeout=60).raise_for_status()


def drop(page, path):
    """Drop a file on the page, as a mouse does."""
    page.evaluate(
        """([name, text]) => {
            const data = new DataTransfer();
            data.items.add(new File([text], name));
            for (const kind of ["dragenter", "dragover", "drop"])
              document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
        [path.name, path.read_text()],
    )


def test_drop_a_file_and_read_its_numbers(open_page, files, url):
    page = open_page()
    drop(page, files[0])
    shown(page)
    expected = asked(url, "/v1/predict", files[0]).json()
    assert page.locator("#detail h2").inner_text().replace("\n", "") == expected["material"]["formula"]
    values = page.locator(".properties .value").all_inner_texts()
    assert len(values) == len(expected["predictions"])
    for text, property_ in zip(values, expected["predictions"], strict=True):
        value, unit = text.replace("\u2212", "-").split()
        assert unit == property_["unit"]
        assert float(value) == pytest.approx(property_["value"], rel=0.01)
    assert page.locator("#nearest-title ~ .scroll tbody tr").count() == 6


def test_the_surface_follows_the_slider_and_the_keyboard(open_page, files):
    page = open_page()
    give(page, files[0])
    scene = shown(page).locator(".scene")
    before, text = scene.screenshot(), page.locator("output[for=isovalue]").inner_text()
    page.locator("#isovalue").focus()
    for _ in range(12):
        page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(600)
    after = scene.screenshot()
    assert page.locator("output[for=isovalue]").inner_text() != text
    assert after != before
    scene.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(300)
    assert scene.screenshot() != after
    page.get_by_text("Atoms", exact=True).click()
    page.wait_for_timeout(300)
    assert not page.locator("#atoms").is_checked()


def test_original_reconstruction_and_difference(open_page, files):
    page = open_page()
    give(page, files[0])
    shown(page)
    cuts = page.locator(".cuts canvas")
    assert cuts.count() == 3
    original, _, difference = [cuts.nth(i).screenshot() for i in range(3)]
    assert original != difference
    expect(page.locator(".cuts")).to_contain_text("of the charge is misplaced")
    scene = page.locator(".scene").screenshot()
    page.locator("#what-2").focus()
    page.keyboard.press("Space")
    page.wait_for_timeout(600)
    assert page.locator("output[for=isovalue]").inner_text().startswith("±")
    assert page.locator(".scene").screenshot() != scene
    page.locator("#axis-0").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#axis-1").is_checked()


def saved(page, button):
    with page.expect_download(timeout=PATIENCE) as download:
        button.click()
    return download.value.suggested_filename, download.value.path().read_text()


def test_downloads(open_page, files, url):
    page = open_page()
    give(page, files[0])
    shown(page)
    expected = asked(url, "/v1/predict", files[0]).json()
    tools = page.locator("#detail .downloads")
    name, csv = saved(page, tools.get_by_text("CSV", exact=True))
    material_id = files[0].name.split("_")[0]
    assert name == f"{material_id}.csv"
    head, row = (line.split(",") for line in csv.splitlines())
    by_column = dict(zip(head, row, strict=True))
    assert by_column["material_id"] == material_id
    assert float(by_column["bulk_modulus"]) == expected["predictions"][0]["value"]
    assert float(by_column["bulk_modulus_upper"]) == expected["predictions"][0]["upper"]
    _, text = saved(page, tools.get_by_text("JSON", exact=True))
    assert json.loads(text)["predictions"] == expected["predictions"]
    name, chgcar = saved(page, tools.get_by_text("CHGCAR, reconstructed"))
    assert name == f"{material_id}_reconstructed_CHGCAR"
    assert chgcar == asked(url, "/v1/reconstruct", files[0]).text


def test_several_files_become_a_table_that_sorts(open_page, files):
    page = open_page()
    give(page, *files)
    expect(page.locator("#list-title")).to_have_text("4 of 4 files", timeout=PATIENCE)
    expect(page.locator("#list tbody tr", has_text="photo.jpg")).to_contain_text("JPEG")
    page.locator("#list .sort", has_text="Bulk modulus").click()
    expect(page.locator("#list th[aria-sort=ascending]")).to_contain_text("Bulk modulus")
    column = [float(text.split()[0]) for text in page.locator("#list tbody tr td:nth-child(3)").all_inner_texts()]
    assert len(column) == 3
    assert column == sorted(column)
    page.locator("#list .sort", has_text="Bulk modulus").press("Enter")
    expect(page.locator("#list th[aria-sort=descending]")).to_contain_text("Bulk modulus")
    assert page.locator("#list tbody tr").last.inner_text().startswith("photo.jpg")
    page.locator("#list .pick", has_text=files[2].name).click()
    expect(page.locator("#detail .file")).to_have_text(files[2].name, timeout=PATIENCE)
    _, csv = saved(page, page.get_by_text("CSV of all"))
    assert len(csv.splitlines()) == 5


def test_a_refusal_is_told_in_its_own_words(open_page, files):
    page = open_page()
    give(page, files[-1])
    expect(page.get_by_role("alert")).to_contain_text("JPEG image", timeout=PATIENCE)
    expect(page.get_by_role("status")).to_contain_text("photo.jpg")


def test_a_token_is_asked_for(open_page, local_model, files):
    with serving(local_model, api_token=OPENS) as guarded:
        page = open_page(guarded)
        give(page, files[0])
        expect(page.locator("#token")).to_be_focused(timeout=PATIENCE)
        page.keyboard.type(OPENS)
        page.keyboard.press("Enter")
        shown(page)
        assert OPENS not in page.url


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_accessible_and_no_wider_than_the_screen(open_page, files, scheme, width):
    page = open_page(color_scheme=scheme, viewport={"width": width, "height": 844})
    give(page, *files[:2])
    shown(page)
    expect(page.locator("#list-title")).to_have_text("2 of 2 files", timeout=PATIENCE)
    found = Axe().run(page).response["violations"]
    serious = {v["id"]: [n["target"] for n in v["nodes"]] for v in found if v["impact"] in {"serious", "critical"}}
    assert serious == {}
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_on_a_phone_a_long_name_breaks_after_its_words_and_a_choice_keeps_one_line(open_page, files, tmp_path):
    long = tmp_path / "mp-1138_relaxed_PBE_520eV_gamma-centred-12x12x12_final_with_everything.CHGCAR"
    long.write_bytes(files[0].read_bytes())
    page = open_page(viewport={"width": 390, "height": 844})
    give(page, long)
    shown(page)
    name = page.locator("#detail .file")
    expect(name).to_have_text(long.name)
    lines = name.evaluate(
        """(element) => {
            const lines = new Map(), range = document.createRange();
            for (const node of element.childNodes) {
              for (let i = 0; i < node.length; i++) {
                range.setStart(node, i);
                range.setEnd(node, i + 1);
                const top = Math.round(range.getBoundingClientRect().top);
                lines.set(top, (lines.get(top) ?? "") + node.data[i]);
              }
            }
            return [...lines.values()];
        }"""
    )
    assert len(lines) > 1
    assert all(line.endswith(("_", "-")) for line in lines[:-1]), lines
    tops = {page.locator(f"label[for=what-{n}]").bounding_box()["y"] for n in range(3)}
    assert len(tops) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_docs_need_no_other_host(open_page, scheme):
    page = open_page(path="/docs", color_scheme=scheme)
    expect(page.locator(".opblock")).to_have_count(9, timeout=PATIENCE)
    page.locator(".opblock-summary-control", has_text="/v1/predict").first.click()
    expect(page.locator(".opblock-body")).to_contain_text("multipart/form-data")
    expect(page.locator(".opblock-body")).to_contain_text("urn:rhoray:problem:")
