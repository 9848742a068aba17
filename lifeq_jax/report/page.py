"""A report as one HTML page that holds its pictures, reads on a telephone, and needs no network."""

import base64
import re
import struct
from html import escape
from pathlib import Path

from lifeq_jax.core.files import write_whole

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 0 auto; max-width: 68rem;
  padding: 1rem 1.25rem 4rem; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { font-size: 1.25rem; margin-top: 2.5rem; border-top: 1px solid #ccc;
  padding-top: 1rem; }
nav { background: #f4f6f8; padding: .5rem 1rem; border-radius: .4rem; } nav ul { margin: 0; padding-left: 1.1rem; }
a { color: #0b5394; } code { font: .92em ui-monospace, monospace; background: #f4f6f8; padding: 0 .2em; }
.scroll { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid #ddd; text-align: left; white-space: nowrap;
  vertical-align: top; }
th:first-child, td:first-child { white-space: normal; min-width: 8rem; } td.number { text-align: right; }
thead th { border-bottom: 2px solid #666; } tbody tr:nth-child(even) { background: #fafbfc; }
figure { margin: 1.25rem 0; } figure img { display: block; max-width: 100%; height: auto; }
figcaption { font-size: .9rem; color: #444; max-width: 46rem; }
@media (max-width: 700px) { figure img.wide { max-width: none; width: 44rem; } body { padding: .75rem .75rem 3rem; } }
"""
WIDE = 560  # pixels of a picture that is scrolled on a small screen, where shrunk to it its letters could not be read


def write_page(report: Path) -> Path:
    """Writes report.html beside a report.md and returns its path.

    Pictures are embedded; their texts become captions; wide tables and pictures scroll in themselves."""
    import markdown

    converter = markdown.Markdown(extensions=["tables", "toc"], extension_configs={"toc": {"toc_depth": 2}})
    converter.preprocessors.deregister("html_block")  # what looks like HTML in a name is text
    converter.inlinePatterns.deregister("html")
    text = report.read_text()
    body = converter.convert(text)
    contents = converter.toc if len(converter.toc_tokens[0]["children"]) > 1 else ""  # type: ignore[attr-defined]
    body = re.sub(r"<p><img alt=\"([^\"]*)\" src=\"([^\"]*)\" ?/?></p>", lambda found: _figure(report, found), body)
    body = body.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")
    body = re.sub(r"<td>(?=[-(]?\d[\d,.]*(?: ± [\d.]+)?%?\)?</td>)", '<td class="number">', body)
    head, _, rest = body.partition("</h1>")
    nav = contents.replace('<div class="toc">', "<nav>").replace("</div>", "</nav>")
    title = escape(text.partition("\n")[0].lstrip("# "))
    path = report.with_suffix(".html")
    write_whole(
        path,
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{head}</h1>\n{nav}\n{rest}\n</body>\n</html>\n",
    )
    return path


def _figure(report: Path, found: re.Match) -> str:
    caption, name = found.groups()
    content = (report.parent / name).read_bytes()
    width = struct.unpack(">I", content[16:20])[0] * 96 // 150  # pixels of a screen, as `save` has 150 to the inch
    kind = ' class="wide"' if width > WIDE else ""
    data = base64.b64encode(content).decode()
    image = f'<img{kind} width="{width}" alt="{caption}" src="data:image/png;base64,{data}">'
    return f'<figure><div class="scroll">{image}</div><figcaption>{caption}</figcaption></figure>'
