"""Draws a report as SVG: bars of the operations beside floors and peers, and lines of how cost grows."""

import math
from xml.sax.saxutils import escape

from . import growth

WIDTH = 960
COLOURS = {"ckpt": "#1f6feb", "floor": "#8b949e", "agentdocker-lite": "#d29922", "nitrobox": "#bf5af2"}
LINES = ["#1f6feb", "#d29922", "#2da44e", "#bf5af2"]
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#24292f}.faint{fill:#57606a}.title{font-size:14px;font-weight:600}"
    ".rule{stroke:#d0d7de}.axis{stroke:#8c959f}"
)
LEFT, ROW, CHART_WIDTH, CHART_HEIGHT = 150, 15, 290, 170


def text(x, y, words, *, anchor="start", kind=""):
    shape = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{shape}>{escape(words)}</text>'


def figure(value):
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


class Scale:
    """Maps values to pixels by their logarithm; zero lies where the smallest power of ten does."""

    def __init__(self, values, first, last):
        positive = [value for value in values if value > 0]
        self.low = math.floor(math.log10(min(positive)))
        self.high = max(math.ceil(math.log10(max(positive))), self.low + 1)
        self.first, self.last = first, last

    def __call__(self, value):
        part = (math.log10(max(value, 10**self.low)) - self.low) / (self.high - self.low)
        return self.first + part * (self.last - self.first)

    def ticks(self):
        return [10**power for power in range(self.low, self.high + 1)]


def operations(report):
    """Name → {who: ms}: what was compared with peers, else the idle bash with its floors."""
    peers = report.get("peers", {}).get("operations")
    if peers:
        return peers
    return {
        one["name"]: {"ckpt": one["median_ms"], **({"floor": one["floor_ms"]} if one["floor_ms"] else {})}
        for one in report["operations"] if "/" not in one["name"]
    }


def bars(report, top):
    rows = operations(report)
    if not rows:
        return [], top
    scale = Scale([value for row in rows.values() for value in row.values()], LEFT, WIDTH - 70)
    present = [who for who in COLOURS if any(who in row for row in rows.values())]
    shapes = [text(20, top, "An idle bash, medians in milliseconds", kind="title")]
    x = LEFT + 200
    for who in present:
        shapes.append(f'<rect x="{x}" y="{top - 10}" width="10" height="10" fill="{COLOURS[who]}"/>')
        shapes.append(text(x + 15, top, who))
        x += 40 + 7 * len(who)
    y = top + 20
    begin = y
    for name, row in rows.items():
        shown = [who for who in present if who in row]
        shapes.append(text(LEFT - 10, y + ROW * len(shown) / 2 + 4, name, anchor="end"))
        for who in shown:
            end = scale(row[who])
            shapes.append(
                f'<rect x="{LEFT}" y="{y + 2}" width="{max(1, end - LEFT):.1f}" height="{ROW - 3}" '
                f'fill="{COLOURS[who]}"/>'
            )
            shapes.append(text(end + 5, y + ROW - 3, figure(row[who]), kind="faint"))
            y += ROW
        y += 8
    for tick in scale.ticks():
        shapes.insert(0, f'<line x1="{scale(tick):.1f}" y1="{begin}" x2="{scale(tick):.1f}" y2="{y}" class="rule"/>')
        shapes.append(text(scale(tick), y + 14, f"{tick:g}", anchor="middle", kind="faint"))
    return shapes, y + 50


def lines(series, left, top):
    points = [point for _, points in series["lines"] for point in points]
    across = Scale([x for x, _ in points if x], left, left + CHART_WIDTH - 30)
    up = Scale([y for _, y in points], top + CHART_HEIGHT, top + 40)
    unit = "a second" if series.get("rate") else "ms"
    shapes = [text(left, top, f"{series['title']}: {unit}", kind="title")]
    for tick in up.ticks():
        shapes.append(
            f'<line x1="{left}" y1="{up(tick):.1f}" x2="{left + CHART_WIDTH - 30}" y2="{up(tick):.1f}" class="rule"/>'
        )
        shapes.append(text(left - 4, up(tick) + 4, f"{tick:,g}", anchor="end", kind="faint"))
    for x in sorted({x for x, _ in points}):
        shapes.append(text(across(x), top + CHART_HEIGHT + 15, f"{x:,}", anchor="middle", kind="faint"))
    legend = left
    for index, (name, line) in enumerate(series["lines"]):
        colour = LINES[index % len(LINES)]
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in line)
        shapes.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        shapes += [f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="3" fill="{colour}"/>' for x, y in line]
        shapes.append(f'<rect x="{legend}" y="{top + 9}" width="10" height="10" fill="{colour}"/>')
        shapes.append(text(legend + 14, top + 18, name))
        legend += 30 + 6.5 * len(name)
    return shapes


def draw(report):
    shapes, bottom = bars(report, 30)
    charts = growth.series(report)
    for index, series in enumerate(charts):
        left = 55 + index % 3 * (CHART_WIDTH + 15)
        shapes += lines(series, left, bottom + index // 3 * (CHART_HEIGHT + 70))
    height = bottom + math.ceil(len(charts) / 3) * (CHART_HEIGHT + 70)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img">\n'
        f'<style>{STYLE}</style>\n<rect width="{WIDTH}" height="{height:.0f}" fill="#ffffff"/>\n'
        + "\n".join(shapes) + "\n</svg>\n"
    )
