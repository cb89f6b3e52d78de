"""Prints what scripts/bench measured as tables, and draws the chart."""
import collections, json, math, statistics
from html import escape
from pathlib import Path

from bench_data import GROUPS, JOBS, TOOLS


def read(files):
    """All runs of the files, with the machine and the packages of the first."""
    records = [json.loads(Path(file).read_text()) for file in files]
    return records[0] | {"runs": [run for record in records for run in record["runs"]]}


def medians(record):
    """The medians of each job and tool. One failed run makes the whole result a failure."""
    table = collections.defaultdict(dict)
    for job in JOBS:
        for tool in TOOLS:
            if runs := [run for run in record["runs"] if (run["job"], run["tool"]) == (job, tool)]:
                table[job][tool] = dict(next((run for run in runs if run["outcome"] != "done"), runs[-1]))
                for key in "wall", "on_disk", "cpu", "memory":
                    table[job][tool][key] = statistics.median(run[key] for run in runs)
    return table


# ---- Tables --------------------------------------------------------------------------------------------


def seconds(value):
    return f"{value:.1f} s" if value >= 10 else f"{value:.2f} s"


def row(*cells):
    print("|", " | ".join(cells), "|")


def overview(table, jobs):
    """A row per job: the wall time of each tool, and what else s3keep needs."""
    table = {job: table[job] for job in jobs if "s3keep" in table.get(job, {})}
    if not table:
        return
    others = [name for name in TOOLS
              if not name.startswith("s3keep") and any(name in results for results in table.values())]
    row("job", "s3keep", "CPU", "memory", "requests", "connections", *others)
    row("---", *["---:"] * (5 + len(others)))
    for job, results in table.items():
        own = results["s3keep"]
        requests = f"{sum(own['requests'].values()):,}" if own["requests"] else ""
        connections = "" if own["connections"] is None else f"{own['connections']:,}"
        walls = [results.get(name) for name in others]
        row(JOBS[job].title, f"**{seconds(own['wall'])}**", seconds(own["cpu"]),
            f"{own['memory'] / 1e6:,.0f} MB", requests, connections,
            *("" if it is None else seconds(it["wall"]) if it["outcome"] == "done" else it["outcome"]
              for it in walls))
    print()


def tables(record):
    table = medians(record)
    print(f"{record['machine']}; {', '.join(record['packages'])}\n")
    overview(table, GROUPS["readme"])
    overview(table, [job for job in JOBS if job not in GROUPS["readme"]])
    details(table)
    best_of_the_others(table)
    growth(table)


def details(table):
    row("job", "tool", "wall", "until on the disk", "CPU", "peak memory", "requests", "connections")
    row(*["---"] * 2, *["---:"] * 4, "---", "---:")
    for job, results in table.items():
        for tool, it in results.items():
            done = it["outcome"] == "done"
            kinds = sorted((it["requests"] or {}).items(), key=lambda kind: -kind[1])
            row(JOBS[job].title if tool == next(iter(results)) else "", tool,
                seconds(it["wall"]) if done else it["outcome"],
                seconds(it["on_disk"]) if done and JOBS[job].kind == "down" else "", seconds(it["cpu"]),
                f"{it['memory'] / 1e6:,.0f} MB", ", ".join(f"{n:,} {kind}" for kind, n in kinds),
                "" if it["connections"] is None else f"{it['connections']:,}")
    print()


def best_of_the_others(table):
    row("job", "s3keep", "best of the others", "", "s3keep needs")
    row("---", "---:", "---:", "---", "---:")
    for job, results in table.items():
        peers = [(it["wall"], tool) for tool, it in results.items()
                 if not tool.startswith("s3keep") and it["outcome"] == "done"]
        if "s3keep" in results and peers:
            own, (best, tool) = results["s3keep"]["wall"], min(peers)
            row(JOBS[job].title, seconds(own), seconds(best), tool, f"{own / best:.2f} of that time")


def growth(table):
    results = [(tool, table[job][tool])
               for tool in TOOLS for job in GROUPS["growth"] if tool in table.get(job, {})]
    if not results:
        return
    print()
    row("nothing to do", "tool", "wall per file", "CPU per file", "peak memory per file")
    row("---", "---", "---:", "---:", "---:")
    for tool, it in results:
        n = it["files"]
        cells = (f"{it['wall'] / n * 1e6:.1f} µs", f"{it['cpu'] / n * 1e6:.1f} µs",
                 f"{it['memory'] / n:,.0f} bytes")
        row(f"{n:,} files", tool, *(cells if it["outcome"] == "done" else (it["outcome"], "", "")))


# ---- The chart -----------------------------------------------------------------------------------------

# All in pixels. The greys and the colours of the tools are legible on white and on black.
LEFT, PLOT, RIGHT = 290, 520, 30
LEGEND, ROW, AXIS = 44, 38, 46
TEXT, GRID = "#787878", "#808080"
RADIUS = 5.5
SHAPES = {
    "circle": '<circle r="5.5"/>',
    "square": '<path d="M-4.6-4.6H4.6V4.6H-4.6Z"/>',
    "diamond": '<path d="M0-6.2 6.2 0 0 6.2-6.2 0Z"/>',
    "triangle": '<path d="M0-6 5.6 4.4H-5.6Z"/>',
    "plus": '<path d="M-1.8-5.6H1.8V-1.8H5.6V1.8H1.8V5.6H-1.8V1.8H-5.6V-1.8H-1.8Z"/>',
    "cross": '<path transform="rotate(45)" d="M-1.8-5.8H1.8V-1.8H5.8V1.8H1.8V5.8H-1.8V1.8H-5.8V-1.8H-1.8Z"/>',
}


def chart(record):
    """An SVG image: a row per job of the README, and in it a dot per tool at its wall time.

    The axis is logarithmic. A bar would need an origin, and a logarithmic axis has none.
    """
    table = medians(record)
    table = {job: {tool: it for tool, it in table[job].items() if " --" not in tool}
             for job in GROUPS["readme"] if job in table}
    walls = [it["wall"] for results in table.values() for it in results.values()]
    if not walls:
        return None
    ticks = ticks_around(min(walls), max(walls))
    low, high = math.log(ticks[0]), math.log(ticks[-1])

    def x(wall):
        return LEFT + PLOT * (math.log(wall) - low) / (high - low)

    width, bottom = LEFT + PLOT + RIGHT, LEGEND + ROW * len(table)
    tools = [tool for tool in TOOLS if any(tool in results for results in table.values())]
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom + AXIS}" width="{width}" '
           f'height="{bottom + AXIS}" font-family="system-ui, sans-serif" font-size="13" fill="{TEXT}">',
           "<title>Wall time of each job and tool, in seconds, on a logarithmic axis</title>"]
    for place, tool in enumerate(tools):
        at = 16 + place * (width - 20) / len(tools)
        out += [dot(at, 20, tool), f'<text x="{at + 12:.0f}" y="24.5">{escape(tool)}</text>']
    for tick in ticks:
        out += [f'<path d="M{x(tick):.1f} {LEGEND}V{bottom}" stroke="{GRID}" stroke-opacity="0.35"/>',
                f'<text x="{x(tick):.1f}" y="{bottom + 18}" text-anchor="middle">{tick:g}</text>']
    out.append(f'<text x="{LEFT + PLOT / 2}" y="{bottom + 38}" text-anchor="middle">'
               "wall time in seconds, logarithmic: further left is faster</text>")
    for number, (job, results) in enumerate(table.items()):
        y = LEGEND + ROW * (number + 0.5)
        out += [f'<path d="M{LEFT} {y:.1f}h{PLOT}" stroke="{GRID}" stroke-opacity="0.35"/>',
                f'<text x="{LEFT - 12}" y="{y + 4.5:.1f}" text-anchor="end">{escape(JOBS[job].title)}</text>']
        placed, dots = [], []
        # s3keep first: where dots would overlap, the others move off the line.
        for tool, it in sorted(results.items(), key=lambda item: (item[0] != "s3keep", item[1]["wall"])):
            at = x(it["wall"])
            lane = next(lane for lane in (0, -1, 1, -2, 2, -3, 3)
                        if all(lane != other or abs(at - there) > 2 * RADIUS for there, other in placed))
            placed.append((at, lane))
            done = it["outcome"] == "done"
            title = f"{tool}: {seconds(it['wall']) if done else it['outcome']}"
            dots.append(dot(at, y + lane * (2 * RADIUS + 1), tool, title, done))
        out += dots
    if any(it["outcome"] != "done" for results in table.values() for it in results.values()):
        out.append(f'<text x="10" y="{bottom + 38}">hollow: stopped or failed</text>')
    return "\n".join([*out, "</svg>", ""])


def dot(x, y, tool, title=None, filled=True):
    paint = f'fill="{TOOLS[tool].colour}"'
    if not filled:
        paint = f'fill="none" stroke="{TOOLS[tool].colour}"'
    title = f"<title>{escape(title)}</title>" if title else ""
    return f'<g transform="translate({x:.1f} {y:.1f})" {paint}>{title}{SHAPES[TOOLS[tool].shape]}</g>'


def ticks_around(least, most):
    """1, 2 and 5 times the powers of ten, from the last one below `least` to the first above `most`."""
    ticks = [factor * 10.0 ** power for power in range(-3, 5) for factor in (1, 2, 5)]
    first = max(n for n, tick in enumerate(ticks) if tick <= least)
    last = min(n for n, tick in enumerate(ticks) if tick >= most)
    return ticks[first:max(last, first + 1) + 1]
