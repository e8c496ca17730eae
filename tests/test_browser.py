"""The page in headless Chromium: by keyboard alone, in both schemes, at both widths, and without network."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from chromium import find_chromium
from playwright.sync_api import expect, sync_playwright
from test_page import EVIL, LAYERS, layer, page_of_records, report

from parity.page.render import render
from parity.port.page import to_page

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        # A container's root has no sandbox; the page is our own.
        yield playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    # One of 100 layers has a name that would be a script.
    many = [layer(f"deep.{i}", classes=(EVIL, "Linear") if i == 7 else ("Linear", "Linear")) for i in range(100)]
    path.write_bytes(render(to_page(report(*LAYERS, layer("deep"), *many))))
    return path.as_uri()


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    return page_of_records(tmp_path_factory.mktemp("records")).as_uri()


@pytest.fixture
def opened(browser, request):
    """A function that opens a page; at the end nothing was said on its console, and no other address was asked."""
    address = request.getfixturevalue("compared" if "records" in request.node.name else "address")
    said, asked, contexts = [], [], []

    def open_page(size=DESKTOP, scheme="light", **options):
        contexts.append(browser.new_context(viewport=size, color_scheme=scheme, **options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert {url for url in asked if not url.startswith("data:")} == {address}


def focused(page):
    return page.evaluate("document.activeElement.querySelector('.name')?.textContent ?? document.activeElement.id")


def test_the_tree_by_keyboard_alone(opened):
    page = opened()
    expect(page.locator("#detail h2")).to_have_text("block.conv")
    page.keyboard.press("/")
    assert focused(page) == "search"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    for _ in range(10):
        page.keyboard.press("Tab")
        if focused(page) == "conv":
            break
    assert focused(page) == "conv"  # the first difference is the tree's one tab stop
    steps = [
        ("ArrowLeft", "block"), ("ArrowUp", "(the model)"), ("ArrowDown", "block"), ("ArrowLeft", "block"),
        ("ArrowDown", "head"), ("ArrowUp", "block"), ("ArrowRight", "block"), ("ArrowRight", "conv"), ("h", "head"),
        ("Home", "(the model)"), ("End", "deep"), ("ArrowRight", "deep"), ("ArrowRight", "0"), ("ArrowLeft", "deep"),
    ]  # fmt: skip
    for key, name in steps:
        page.keyboard.press(key)
        assert focused(page) == name, key
    expect(page.locator("[aria-selected=true] > .row .name")).to_have_text("deep")
    expect(page.locator("#detail h2")).to_have_text("deep")
    page.keyboard.press("Enter")
    assert focused(page) == "detail"
    page.keyboard.press("Escape")
    assert focused(page) == "deep"


def test_the_focus_is_seen(opened):
    page = opened()
    page.focus("[role=treeitem][tabindex='0']")
    page.keyboard.press("ArrowUp")
    row = page.locator("[role=treeitem]:focus > .row")
    assert row.evaluate("each => getComputedStyle(each).outlineStyle") == "solid"
    page.keyboard.press("/")
    assert page.locator("#search").evaluate("each => getComputedStyle(each).outlineStyle") == "solid"


def test_search_and_what_differs(opened):
    page = opened()
    page.fill("#search", "deep.9")
    expect(page.locator("#found")).to_have_text("11 of 105")
    expect(page.locator("[role=treeitem]:visible")).to_have_count(13)  # with the two that they lie in
    page.keyboard.press("Enter")
    assert focused(page) == "9"
    page.fill("#search", "nothing like it")
    expect(page.locator("#found")).to_have_text("0 of 105")
    page.focus("#search")
    page.keyboard.press("Escape")
    expect(page.locator("#found")).to_have_text("")
    page.check("#only")
    expect(page.locator("#found")).to_have_text("1 of 105")
    expect(page.locator("[role=treeitem]:visible")).to_have_count(3)


def test_a_view_changes_the_amounts(opened):
    page = opened()
    chips = page.locator("#n2 > .row .chip")
    before = chips.all_text_contents()
    page.select_option("#view", label="eval, float32: as the port runs")
    assert [each.split()[1] for each in chips.all_text_contents()] == ["0.9", "NaN"]
    page.select_option("#view", index=0)
    assert [each.split() for each in chips.all_text_contents()] == [each.split() for each in before]


def test_the_details_show_maps_as_they_are(opened):
    page = opened()
    maps = page.locator("#detail canvas")
    expect(maps).to_have_count(3)
    size = maps.nth(0).evaluate("each => [each.height, each.width]")
    assert size == [20, 7]
    # The two sides are drawn by one scale, and a constant difference is one colour.
    colours = maps.nth(2).evaluate(
        "each => new Set(each.getContext('2d').getImageData(0, 0, 7, 20).data.join().match(/\\d+,\\d+,\\d+,255/g)).size"
    )
    assert colours <= 3
    assert maps.nth(0).evaluate("each => each.toDataURL()") != maps.nth(1).evaluate("each => each.toDataURL()")
    expect(page.locator("#detail .bars i")).to_have_count(1)
    expect(page.locator("#detail .unlike th")).to_have_text("padding")


def test_a_layer_named_as_a_script_is_text(opened):
    page = opened()
    page.fill("#search", "deep.7")
    page.focus("#search")
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    page.locator("#n12").click()
    assert "<script>alert(1)</script>" in page.locator("#n12 .about").text_content()
    assert "<script>alert(1)</script>" in page.locator("#detail").text_content()
    assert page.locator("script").count() == 2


@pytest.mark.parametrize("what", ["port", "records"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_it_fits_and_is_accessible(opened, size, scheme, what):
    page = opened(size, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    found = Axe().run(page).response["violations"]
    assert [(each["id"], [node["html"] for node in each["nodes"]][:3]) for each in found] == []
    backs = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert backs == ("rgb(18, 23, 30)" if scheme == "dark" else "rgb(255, 255, 255)")


def test_on_a_phone_a_tap_goes_to_the_details_and_back(opened):
    page = opened(PHONE, has_touch=True)
    page.locator("#n3 > .row").tap()
    expect(page.locator("#detail h2")).to_be_in_viewport()
    expect(page.locator("#detail h2")).to_have_text("head")
    page.get_by_role("button", name="Back to the tree").tap()
    expect(page.locator("#n3 > .row")).to_be_in_viewport()
    assert focused(page) == "head"


def test_without_scripts_the_tree_and_the_tables_are_there(opened):
    page = opened(java_script_enabled=False)
    expect(page.locator("[role=treeitem]:visible")).to_have_count(105)
    expect(page.locator("noscript p")).to_be_visible()


def test_the_page_of_records_breaks_no_word_on_a_phone(opened):
    page = opened(PHONE)
    heads = page.locator("#detail th")
    assert max(heads.evaluate_all("all => all.map(each => each.scrollWidth - each.clientWidth)")) <= 0
    name = page.locator("#detail th", has_text="torch (there), float64")
    width = name.evaluate("each => each.getBoundingClientRect().width")
    assert width >= 55, "the longest word of its name does not fit"
    rows = page.locator("#detail .wide tr").evaluate_all("all => all.map(each => each.clientHeight)")
    assert max(rows) < 150


def test_the_page_of_records_shows_the_run_that_is_wrong(opened):
    page = opened()
    expect(page.locator("h1")).to_have_text("Records, held against the reference and each other")
    expect(page.locator("#view option:checked")).to_have_text("torch (there), float64")
    expect(page.locator("#detail h2")).to_have_text("SE/1x1")
    expect(page.locator("#detail canvas")).to_have_count(6)
    chips = page.locator("#n1 > .row .chip")
    wrong = chips.all_text_contents()
    page.select_option("#view", label="paddle, float64")
    assert chips.all_text_contents() != wrong
    page.focus("[role=treeitem][tabindex='0']")
    page.keyboard.press("ArrowUp")
    assert focused(page) == "SE"
