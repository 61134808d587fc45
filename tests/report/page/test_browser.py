"""The page in headless Chromium: it works, fits a phone, and can be read in light and dark."""

from __future__ import annotations

import os
import shutil

import pytest

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install playwright"
)
SCHEMES = ("light", "dark")
SIZES = {"desktop": (1200, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def chromium():
    """A browser: Playwright's own, else one that is installed here."""
    with sync_api.sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        names = ("chromium", "chromium-browser", "google-chrome")
        path = own if os.path.exists(own) else next(filter(None, map(shutil.which, names)), None)
        if path is None:
            pytest.skip(
                "no Chromium here: playwright install chromium, or apt-get install chromium"
            )
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, reported):
    """Opens the page under a colour scheme at a size; afterwards its console holds no error."""
    said = []

    def open_page(scheme="light", size="desktop", words=""):
        width, height = SIZES[size]
        view = {"width": width, "height": height}
        page = chromium.new_page(viewport=view, color_scheme=scheme, reduced_motion="reduce")
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on(
            "request",
            lambda request: said.append(request.url) if "http" in request.url[:5] else None,
        )
        page.goto(f"file://{reported.folder}/index.html{words}")
        return page

    yield open_page
    assert said == []


def column(page, index):
    """The visible cells of a column of the main table."""
    cells = page.locator(f"#main tbody tr:visible td:nth-child({index + 1})").all_inner_texts()
    return [cell.strip() for cell in cells]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_opens_without_an_error_and_fits_the_screen(opened, scheme, size):
    page = opened(scheme, size)
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    ground, ink = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    light, dark = (sum(map(int, c.strip("rgb()").split(","))) for c in (ground, ink))
    assert (light > dark + 300) == (scheme == "light") and abs(light - dark) > 300


def test_a_phone_shows_whole_figures_and_enlarges_them(opened):
    page = opened(size="phone")
    box = "[x.scrollWidth, x.clientWidth, x.getBoundingClientRect().right]"
    widths = f"(parts) => parts.map((x) => {box})"
    figures, buttons = page.locator(".drawn"), page.locator(".drawn + .enlarge")
    assert figures.count() == buttons.count() > 3
    for inner, outer, right in figures.evaluate_all(widths):
        assert inner <= outer and right <= SIZES["phone"][0]
    assert "swipe" in buttons.first.inner_text()
    buttons.first.click()
    inner, outer, _ = figures.evaluate_all(widths)[0]
    assert inner > outer  # it scrolls in its card
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert "whole" in buttons.first.inner_text()
    figures.first.evaluate("(x) => x.scrollBy(60, 0)")
    assert figures.first.evaluate("(x) => x.scrollLeft") > 0  # what lies beyond can be reached
    buttons.first.press("Enter")  # as a keyboard does
    inner, outer, right = figures.evaluate_all(widths)[0]
    assert inner <= outer and right <= SIZES["phone"][0] and "swipe" in buttons.first.inner_text()
    assert not opened().locator(".enlarge").first.is_visible()  # a wide screen needs none


@pytest.mark.parametrize("width", [390, 700, 1280])
def test_the_navigation_wraps(opened, width):
    """All its links are on the screen, and it scrolls with the page where it has many lines."""
    page = opened()
    page.set_viewport_size({"width": width, "height": 844})
    assert page.evaluate("(x => x.scrollWidth <= x.clientWidth)(document.querySelector('nav'))")
    sides = "(links) => links.map((x) => [x.getBoundingClientRect().left, x.offsetWidth])"
    for left, wide in page.locator("nav a").evaluate_all(sides):
        assert wide > 0 and left >= 0 and left + wide <= width
    position = page.evaluate("getComputedStyle(document.querySelector('nav')).position")
    assert position == ("static" if width == 390 else "sticky")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_words_of_figures_follow_light_and_dark(opened, scheme):
    page = opened(scheme)
    look = "(text) => getComputedStyle(text).fill"
    fills = page.locator(".drawn text").evaluate_all(f"(texts) => texts.map({look})")
    levels = {sum(map(int, fill.strip("rgb()").split(","))) for fill in fills}
    assert len(fills) > 50
    assert max(levels) < 450 if scheme == "light" else min(levels) > 300


def test_a_click_on_a_heading_sorts_by_numbers_and_back(opened):
    page = opened()
    names = [name.strip() for name in page.locator("#main thead th").all_inner_texts()]
    at = names.index("Success %")
    for order, sort in (("descending", True), ("ascending", False)):
        page.locator("#main thead th").nth(at).click()
        assert page.locator("#main thead th").nth(at).get_attribute("aria-sort") == order
        known = [float(value) for value in column(page, at) if value]
        assert len(known) > 8 and known == sorted(known, reverse=sort)
        assert column(page, at)[-1] == ""  # holes stand at the end either way
    page.locator("#main thead th").nth(names.index("Method")).focus()
    page.keyboard.press("Enter")
    methods = column(page, names.index("Method"))
    assert methods == sorted(methods, key=str.casefold) or methods[0] > methods[-1]


def test_filters_leave_the_rows_that_fit_and_the_address_remembers_them(opened):
    page = opened()
    every = page.locator("#main tbody tr:visible").count()
    page.select_option("select[name=task]", "Push-T")
    assert 0 < page.locator("#main tbody tr:visible").count() < every
    assert set(
        page.locator("#main tbody tr:visible").evaluate_all("(r) => r.map((x) => x.dataset.task)")
    ) == {"Push-T"}
    page.fill("input[name=text]", "lewm")
    assert (
        page.locator("output").inner_text()
        == f"{page.locator('#main tbody tr:visible').count()} rows"
    )
    again = opened(words=page.url.partition("index.html")[2])
    assert again.locator("select[name=task]").input_value() == "Push-T"
    shown = again.locator("#main tbody tr:visible").all_inner_texts()
    assert shown and all("LeWM" in row for row in shown)
    page.select_option("select[name=task]", "")
    page.fill("input[name=text]", "")
    page.select_option("select[name=stratum]", "through door")
    strata = page.locator("#main tbody tr:visible").evaluate_all(
        "(r) => r.map((x) => x.dataset.stratum)"
    )
    assert set(strata) == {"through door"}


def test_an_episode_plays_from_its_start_to_its_end(opened):
    page = opened()
    player, slider = page.locator("#player"), page.locator("#player input[type=range]")
    states = page.locator("#player small")
    assert states.all_inner_texts() == ["solved at step 14", "not solved in 50 steps"]
    slider.fill("1")
    assert states.all_inner_texts() == ["step 5", "step 5"]
    assert page.locator("#player figure.solved").count() == 0
    slider.fill("9")
    player.locator("button").click()
    assert "Pause" in player.locator("button").inner_text()
    page.wait_for_function("document.querySelector('#player input').value === '10'", timeout=20_000)
    page.wait_for_function("document.querySelector('#player button').textContent.includes('Play')")
    shown = page.locator("#player img").evaluate_all("(i) => i.map((x) => x.naturalWidth)")
    assert shown == [16, 16, 16]
    player.locator("select").select_option(label="Push-T")
    assert "Push-T" in player.locator("p").inner_text()


def test_curves_say_their_values_where_the_pointer_is(opened):
    page = opened()
    chart = page.locator("#chart .plot > svg")
    last = page.locator("#chart li strong").all_inner_texts()
    assert "last values" in page.locator("#chart li").first.inner_text()
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] / 2)
    there = page.locator("#chart li strong").all_inner_texts()
    assert "at step" in page.locator("#chart li").first.inner_text()
    assert all(float(a) > float(b) for a, b in zip(there, last, strict=True))  # the losses fall
    page.locator("#chart select").nth(1).select_option("latent std of the batch")
    assert page.locator("#chart .plot > svg path").count() == len(last)


def test_the_button_switches_between_light_and_dark(opened):
    page = opened("light")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#scheme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
