"""Figures of matplotlib inside a page: no ids twice, and colours that follow light and dark."""

from __future__ import annotations

import colorsys
import re
from xml.etree import ElementTree

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}\b")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_FONT = re.compile(r"'DejaVu Sans'[^;\"]*?sans-serif")
_SURFACE = (27, 28, 31)  # below a figure in the dark: --surface of style.css
_LIGHTEST, _LIFT = 238, 0.85  # what black becomes; below 1 middle greys become lighter
_GREY = 14  # widest distance between the channels of a grey
_PALE = 0.85  # lightness from which a colour is the ground of something
_CONTRAST = 3.0  # of a line to the surface, as WCAG asks of graphics


def inline(svg: bytes, prefix: str, description: str) -> str:
    """The <svg> element to stand in a page, its ids behind `prefix`. It has no size of its own but
    fills its container up to the size that it was drawn for (--wide).
    """
    root = ElementTree.fromstring(svg)
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {
            _local(name): _value(_local(name), value, prefix)
            for name, value in element.attrib.items()
        }
    width = float(root.attrib.pop("width").removesuffix("pt"))
    for name in ("height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {"role": "img", "aria-label": description, "style": f"--wide:{width:.0f}pt"}
    return ElementTree.tostring(root, encoding="unicode")


def both(colour: str) -> str:
    """A CSS colour: `colour` in the light, its counterpart in the dark."""
    if colour.lower() == "#ffffff":
        return "var(--surface)"
    return f"light-dark({colour},{dark(colour)})"


def dark(colour: str) -> str:
    """The counterpart of a colour on a dark surface: a grey stands out from it as from white,
    a pale tint becomes a dark one, and another colour is as light as it takes to be seen.
    """
    channels: list[float] = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    if max(channels) - min(channels) <= _GREY:
        share = (1 - sum(channels) / 3 / 255) ** _LIFT
        return _hex([c + share * (_LIGHTEST - c) for c in _SURFACE])
    hue, lightness, saturation = colorsys.rgb_to_hls(*(c / 255 for c in channels))
    if lightness > _PALE:
        tint = colorsys.hls_to_rgb(hue, 1.12 - lightness, saturation / 2)
        return _hex([255 * c for c in tint])
    while _contrast(channels) < _CONTRAST and lightness < 1:
        lightness += 0.02
        channels = [255 * c for c in colorsys.hls_to_rgb(hue, lightness, saturation)]
    return _hex(channels)


def _contrast(channels: list[float]) -> float:
    """WCAG's contrast of a colour to the dark surface."""
    high, low = sorted((_luminance(channels), _luminance(_SURFACE)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(channels) -> float:
    linear = [
        (c / 255 / 12.92) if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in channels
    ]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _hex(channels: list[float]) -> str:
    return "#" + "".join(f"{round(min(255, c)):02x}" for c in channels)


def _local(name: str) -> str:
    """A tag or an attribute without its XML namespace, which HTML does without."""
    return name.rpartition("}")[2]


def _value(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return prefix + value
    if name == "href":
        return f"#{prefix}{value[1:]}" if value.startswith("#") else value
    value = _REFERENCE.sub(lambda match: f"url(#{prefix}{match[1]})", value)
    if name == "style":
        value = _FONT.sub("var(--figure)", value)
        value = _COLOUR.sub(lambda match: both(match[0]), value)
    return value
