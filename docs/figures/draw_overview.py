"""Draws docs/figures/overview.svg: two sites, and what passes between them.

Rules: nothing but the standard library; boxes and arrows are data, so that a change of words is a
change of one line. Run it after an edit: ``python docs/figures/draw_overview.py``.
"""

from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 900, 560
TARGET = Path(__file__).with_name("overview.svg")

STYLE = """
    text { font-family: Helvetica, Arial, sans-serif; font-size: 15px; fill: #1f2933; }
    .head { font-weight: bold; font-size: 17px; }
    .small { font-size: 13px; fill: #52606d; }
    .site { fill: #f5f7fa; stroke: #9aa5b1; stroke-dasharray: 6 4; }
    .node { fill: #e3f2fd; stroke: #1565c0; stroke-width: 2; }
    .part { fill: #ffffff; stroke: #90a4ae; }
    .app { fill: #e8f5e9; stroke: #2e7d32; stroke-width: 2; }
    .device { fill: #fff3e0; stroke: #e65100; stroke-width: 2; }
    .line { stroke: #1f2933; stroke-width: 1.6; fill: none; }
    .same { stroke: #2e7d32; stroke-width: 1.6; stroke-dasharray: 3 4; fill: none; }
    .quantum { stroke: #e65100; stroke-width: 2.4; fill: none; }
"""

SITES = (("site of alice", 30), ("site of bob", 630))
SITE_WIDTH = 240

# (class, top, height, title, line below it)
BOXES = (
    ("app", 50, 58, "application", "sae:cipher.{name}"),
    ("node", 158, 244, "", ""),
    ("device", 470, 58, "QKD device", "or its simulated twin"),
)
# (top, title, line below it): inside the node
PARTS = (
    (190, "streams", "chunks, by index"),
    (260, "link", "pads and grants"),
    (330, "store and journal", "sealed, chained"),
)
# (class, from y, to y, text at the right of it)
VERTICAL = (
    (108, 158, "ETSI GS QKD 004", "HTTPS, mutual TLS"),
    (470, 402, "ETSI GS QKD 004", "raw socket: blocks"),
)
# (class, y, text above, text below)
ACROSS = (
    ("same", 79, "the same keys", "under the same KSID and index"),
    ("line", 284, "frames under one-time pad", "and one-time MAC, inside TLS 1.3"),
    ("quantum", 499, "quantum channel", "equal bits at both ends"),
)


def box(kind: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/>'


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "middle") -> str:
    attribute = f' class="{kind}"' if kind else ""
    return f'<text{attribute} x="{x}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'


def arrow(kind: str, x1: float, y1: float, x2: float, y2: float, *, both: bool = False) -> str:
    start = ' marker-start="url(#tip)"' if both else ""
    return f'<path class="{kind}" d="M {x1} {y1} L {x2} {y2}" marker-end="url(#tip)"{start}/>'


def site(title: str, left: float) -> list[str]:
    name = title.split()[-1]
    middle = left + SITE_WIDTH / 2
    drawn = [box("site", left, 10, SITE_WIDTH, HEIGHT - 20), text(middle, 34, title, "small")]
    for kind, top, height, head, below in BOXES:
        drawn.append(box(kind, left + 20, top, SITE_WIDTH - 40, height))
        if head:
            drawn.append(text(middle, top + 25, head, "head"))
            drawn.append(text(middle, top + 45, below.format(name=name), "small"))
    drawn.append(text(middle, 180, f"kms node {name}", "head"))
    for top, head, below in PARTS:
        drawn.append(box("part", left + 40, top, SITE_WIDTH - 80, 54))
        drawn.append(text(middle, top + 23, head))
        drawn.append(text(middle, top + 42, below, "small"))
    for start, stop, head, below in VERTICAL:
        x = left + 52
        drawn.append(arrow("line", x, start, x, stop, both=start < stop))
        upper = min(start, stop) + (abs(stop - start) - 26) / 2 + 10
        drawn.append(text(x + 12, upper, head, "small", "start"))
        drawn.append(text(x + 12, upper + 17, below, "small", "start"))
    return drawn


def across() -> list[str]:
    left, right = SITES[0][1] + SITE_WIDTH - 20, SITES[1][1] + 20
    middle = (left + right) / 2
    drawn = []
    for kind, y, above, below in ACROSS:
        inset = 0 if kind != "line" else -20
        drawn.append(arrow(kind, left + inset, y, right - inset, y, both=True))
        drawn.append(text(middle, y - 10, above))
        drawn.append(text(middle, y + 22, below, "small"))
    return drawn


def picture() -> str:
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img">',
        "<title>Two sites: application, kms node and QKD device at each</title>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
        'markerHeight="7" orient="auto-start-reverse"><path d="M 0 0 L 10 5 L 0 10 z" '
        'fill="#1f2933"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    for title, left in SITES:
        drawn += site(title, left)
    drawn += [*across(), "</svg>"]
    return "\n".join(drawn) + "\n"


if __name__ == "__main__":
    TARGET.write_text(picture(), "utf-8")
