"""prepare.html: one page, without anything from elsewhere, that says whether a clip can be trusted.

It works without scripts, on paper, and for people who do not tell red from green.
"""

import base64
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from sspnerf.prepare.checks import Remark

REPORT_NAME = "prepare.html"


class ShownFrame(NamedTuple):
    """One picture of the page."""

    jpeg: bytes
    caption: str


class StageLine(NamedTuple):
    """What a stage has warned of, and what to do about it."""

    stage: str
    line: str
    advice: str
    is_serious: bool = True


class Section(NamedTuple):
    """One kind of evidence."""

    key: str
    """What remarks call it."""
    title: str
    text: str
    """What is to be seen, and how it should be."""
    plots: tuple[str, ...] = ()
    """SVG."""
    table: tuple[tuple[str, ...], ...] = ()
    """Rows; the first one is the head."""


class Report(NamedTuple):
    """All that the page says."""

    name: str
    """Of the video."""
    facts: Sequence[tuple[str, str]]
    remarks: Sequence[Remark]
    stage_lines: Sequence[StageLine]
    timeline: str
    """SVG; empty without remarks that have a time."""
    samples: Sequence[ShownFrame]
    doubtful: Sequence[ShownFrame]
    sections: Sequence[Section]
    made: Sequence[tuple[str, str]]
    """Settings and versions."""


def verdict(report: Report) -> str:
    """Say in one line whether the clip can be trained on.

    Returns:
        "good to train", or how many things are to be looked at before.
    """
    count = sum(remark.is_serious for remark in report.remarks)
    count += sum(line.is_serious for line in report.stage_lines)
    if not count:
        return "good to train"
    return f"look at {'one thing' if count == 1 else f'{count} things'} before you train"


def to_html(report: Report) -> str:
    """Write the page.

    Args:
        report: What to say; all text is plain, and may hold anything.

    Returns:
        HTML 5, self-contained.
    """
    good = verdict(report) == "good to train"
    name = escape(report.name)
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{name}: {escape(verdict(report))}</title>\n<style>{_STYLE}</style>\n</head>",
        f'<body>\n<header class="{"good" if good else "look"}">',
        f'<p class="name">{name}</p>',
        f'<h1><span class="sign">{"&#10003;" if good else "!"}</span> '
        f"{escape(verdict(report)).capitalize()}</h1>",
        "</header>\n<main>",
        _facts(report.facts),
        _remarks(report),
        _frames("Sample frames", "Labels are tinted, the landmarks' mesh is white, axes show the "
                "head's and the torso's pose. The mesh should lie on the face, and each color on "
                "what it names (colors: see labels below).", report.samples),
        _frames("The most doubtful frames", "If these look right, the others do.",
                report.doubtful),
        *map(_section, report.sections),
        _made(report.made),
        "</main>\n</body>\n</html>\n",
    ]  # fmt: skip
    return "\n".join(part for part in parts if part)


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    rows = (f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    return f'<dl class="facts">{"".join(rows)}</dl>'


def _remarks(report: Report) -> str:
    parts = []
    for title, kind, is_serious in (("Look at", " look", True), ("Good to know", "", False)):
        items = [
            _item(remark.sentence, remark.advice, f' <a href="#{escape(remark.about)}">see</a>')
            for remark in report.remarks
            if remark.is_serious == is_serious
        ] + [
            _item(line.line, line.advice, f" <i>({escape(line.stage)})</i>")
            for line in report.stage_lines
            if line.is_serious == is_serious
        ]
        if items:
            listed = "".join(items)
            parts.append(f'<h2>{title}</h2>\n<ul class="remarks{kind}">{listed}</ul>')
    if not parts:
        parts.append("<p>Nothing was found that needs a look.</p>")
    if report.timeline:
        parts.append(f"<figure>{report.timeline}</figure>")
    return "<section>\n" + "\n".join(parts) + "\n</section>"


def _item(sentence: str, advice: str, where: str) -> str:
    said = escape(sentence[:1].upper() + sentence[1:])
    what = f"<br><span>{escape(advice[:1].upper() + advice[1:])}.</span>" if advice else ""
    return f"<li><b>{said}</b>{where}{what}</li>"


def _frames(title: str, text: str, frames: Sequence[ShownFrame]) -> str:
    if not frames:
        return ""
    shown = (
        f'<figure><img alt="{escape(frame.caption)}" src="data:image/jpeg;base64,'
        f'{base64.b64encode(frame.jpeg).decode()}"><figcaption>{escape(frame.caption)}'
        "</figcaption></figure>"
        for frame in frames
    )
    return (
        f"<section>\n<h2>{escape(title)}</h2>\n<p>{escape(text)}</p>\n"
        f'<div class="sheet">{"".join(shown)}</div>\n</section>'
    )


def _section(section: Section) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>", f"<p>{escape(section.text)}</p>"]
    if section.table:
        parts.append(_table(section.table))
    parts += [f"<figure>{plot}</figure>" for plot in section.plots]
    return f'<section id="{escape(section.key)}">\n' + "\n".join(parts) + "\n</section>"


def _table(rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:]
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _made(made: Sequence[tuple[str, str]]) -> str:
    rows = "".join(f"<tr><td>{escape(n)}</td><td>{escape(v)}</td></tr>" for n, v in made)
    return (
        "<section>\n<details><summary>Settings and versions</summary>"
        f"<table><tbody>{rows}</tbody></table></details>\n</section>"
    )


_STYLE = """
:root{--ink:#1b1b1b;--soft:#595959;--line:#dcdcdc;--good:#0072b2;--look:#b84e00}
*{box-sizing:border-box}
body{margin:0;color:var(--ink);background:#fff;font:16px/1.5 system-ui,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif}
header,main{max-width:1000px;margin:0 auto;padding:0 24px}
header{padding-top:32px}
.name{margin:0;color:var(--soft);overflow-wrap:anywhere}
h1{margin:2px 0 20px;font-size:30px;line-height:1.2;font-weight:650}
.sign{display:inline-block;width:1.35em;height:1.35em;margin-right:.2em;border-radius:50%;
color:#fff;text-align:center;line-height:1.35em;font-size:.8em}
.good .sign{background:var(--good)}.look .sign{background:var(--look)}
.good h1{color:var(--good)}.look h1{color:var(--look)}
h2{margin:0 0 4px;font-size:19px;font-weight:650}
section{margin:36px 0}
section p{margin:0 0 10px;color:var(--soft);max-width:76ch}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(145px,1fr));gap:14px 20px;
margin:0;padding:14px 0;border-top:1px solid var(--line);border-bottom:1px solid var(--line)}
.facts dt{color:var(--soft);font-size:13px}.facts dd{margin:0;font-variant-numeric:tabular-nums}
.remarks{list-style:none;margin:8px 0 22px;padding:0}
.remarks li{margin:0 0 10px;padding:2px 0 2px 14px;border-left:4px solid var(--line)}
.remarks.look li{border-left-color:var(--look)}
.remarks b{font-weight:600}.remarks span,.remarks i{color:var(--soft)}
a{color:var(--good)}
figure{margin:12px 0}
svg{display:block;width:100%;height:auto;font-family:inherit}
svg *{stroke-linejoin:round;stroke-linecap:butt}
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(215px,1fr));gap:12px}
.sheet figure{margin:0}.sheet img{display:block;width:100%;border-radius:4px}
figcaption{font-size:13px;color:var(--soft)}
table{border-collapse:collapse;font-size:14px;font-variant-numeric:tabular-nums;margin:8px 0}
th,td{padding:3px 22px 3px 0;text-align:left;border-bottom:1px solid var(--line);
vertical-align:top;overflow-wrap:anywhere}
th{font-weight:600}
summary{cursor:pointer;color:var(--soft)}
@media print{section{break-inside:avoid}}
"""
