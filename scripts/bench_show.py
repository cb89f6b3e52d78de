"""Shows what scripts/bench measured: as tables, and as a chart.

    bench_show.py CHART FILE...      draws the chart; needs matplotlib
"""
import collections, json, statistics, sys
from pathlib import Path

from bench_data import GROWTH, JOBS, TOOLS


def read(files):
    records = [json.loads(Path(file).read_text()) for file in files]
    return records[0] | {"runs": [one for record in records for one in record["runs"]]}


def medians(record):
    """By job and tool: the medians of its runs; where a run came to nothing, what came of it."""
    table = collections.defaultdict(dict)
    for job in JOBS:
        for tool in TOOLS:
            if runs := [one for one in record["runs"] if (one["job"], one["tool"]) == (job, tool)]:
                table[job][tool] = dict(next((one for one in runs if one["outcome"] != "done"), runs[-1]))
                for key in "wall", "on_disk", "cpu", "memory":
                    table[job][tool][key] = statistics.median(one[key] for one in runs)
    return table


def seconds(value):
    return f"{value:.1f} s" if value >= 10 else f"{value:.2f} s"


def row(*cells):
    print("|", " | ".join(cells), "|")


def overview(table):
    """A row for each job: everybody's wall time, and what s3keep takes of everything."""
    names = [name for name in TOOLS if any(name in tools for tools in table.values())]
    others = [name for name in names if not name.startswith("s3keep")]
    row("job", "s3keep", "CPU", "memory", "requests", "connections", *others)
    row("---", *["---:"] * (5 + len(others)))
    for job, tools in table.items():
        if own := tools.get("s3keep"):
            requests = f"{sum(own['requests'].values()):,}" if own["requests"] else ""
            connections = "" if own["connections"] is None else f"{own['connections']:,}"
            walls = [tools[name] if name in tools else None for name in others]
            row(JOBS[job].what, f"**{seconds(own['wall'])}**", seconds(own["cpu"]),
                f"{own['memory'] / 1e6:,.0f} MB", requests, connections,
                *("" if it is None else seconds(it["wall"]) if it["outcome"] == "done" else it["outcome"]
                  for it in walls))
    print()


def tables(record):
    table = medians(record)
    print(f"{record['machine']}; {', '.join(record['packages'])}\n")
    overview(table)
    row("job", "tool", "wall", "until on the disk", "CPU", "peak memory", "requests", "connections")
    row(*["---"] * 2, *["---:"] * 4, "---", "---:")
    for job, tools in table.items():
        for tool, it in tools.items():
            done = it["outcome"] == "done"
            kinds = sorted((it["requests"] or {}).items(), key=lambda kind: -kind[1])
            row(JOBS[job].what if tool == next(iter(tools)) else "", tool,
                seconds(it["wall"]) if done else it["outcome"],
                seconds(it["on_disk"]) if done and JOBS[job].kind == "down" else "", seconds(it["cpu"]),
                f"{it['memory'] / 1e6:,.0f} MB", ", ".join(f"{n:,} {kind}" for kind, n in kinds),
                "" if it["connections"] is None else f"{it['connections']:,}")
    print()
    row("job", "s3keep", "best of the others", "", "s3keep takes")
    row("---", "---:", "---:", "---", "---:")
    for job, tools in table.items():
        peers = [(it["wall"], tool) for tool, it in tools.items()
                 if not tool.startswith("s3keep") and it["outcome"] == "done"]
        if "s3keep" in tools and peers:
            own, (best, tool) = tools["s3keep"]["wall"], min(peers)
            row(JOBS[job].what, seconds(own), seconds(best), tool, f"{own / best:.2f} of its time")
    growth = [(tool, table[job][tool]) for tool in TOOLS for job in GROWTH if tool in table[job]]
    if growth:
        print()
        row("nothing to do", "tool", "wall per file", "CPU per file", "peak memory per file")
        row("---", "---", "---:", "---:", "---:")
        for tool, it in growth:
            n = it["files"]
            cells = (f"{it['wall'] / n * 1e6:.1f} µs", f"{it['cpu'] / n * 1e6:.1f} µs",
                     f"{it['memory'] / n:,.0f} bytes")
            row(f"{n:,} files", tool, *(cells if it["outcome"] == "done" else (it["outcome"], "", "")))


def draw(record, to):
    """Wall times against s3keep's, job by job. Runs in a virtual environment that has matplotlib."""
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot
    grey = "#808080"  # legible on white and on black; so are the tools' colours
    words = ["text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"]
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "s3keep", "font.size": 9})
    matplotlib.rcParams.update(dict.fromkeys(words, grey))
    table = {job: tools for job, tools in medians(record).items() if "s3keep" in tools}
    if not table:
        return
    bars = sum(len(tools) for tools in table.values())
    figure, axes = pyplot.subplots(figsize=(8, 1 + 0.17 * (bars + 1.2 * len(table))))
    ratios = [it["wall"] / tools["s3keep"]["wall"] for tools in table.values() for it in tools.values()]
    floor = min(0.1, 0.5 * min(ratios))
    place, middles, seen = 0.0, [], {}
    for job, tools in table.items():
        middles.append(place + (len(tools) - 1) / 2)
        for tool, it in tools.items():
            done = it["outcome"] == "done"
            ratio = it["wall"] / tools["s3keep"]["wall"] if done else floor
            label = f" {seconds(it['wall'])}" if done else f" {tool}: {it['outcome']}"
            seen[tool] = axes.barh(place, ratio - floor, left=floor, height=0.9, color=TOOLS[tool].colour)
            axes.text(ratio, place, label, va="center", size=7)
            place += 1
        place += 1.2
    axes.set(xscale="log", xlabel="wall time, s3keep = 1", xlim=(floor, None))
    axes.set_yticks(middles, [JOBS[job].what for job in table])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.axvline(1, color=grey, linewidth=0.8)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.margins(x=0.15, y=0.01)
    seen = {tool: seen[tool] for tool in TOOLS if tool in seen}
    figure.legend(seen.values(), seen, ncols=4, loc="upper center", frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.5 / figure.get_figheight()))
    figure.savefig(to, transparent=True, metadata={"Date": None})


if __name__ == "__main__":
    draw(read(sys.argv[2:]), sys.argv[1])
