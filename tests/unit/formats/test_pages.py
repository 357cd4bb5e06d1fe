"""Test how HTML pages and PDF files become parts."""

from __future__ import annotations

import sys

import pytest

from super_advanced_agents.formats import NotUnderstoodError, PassedOver

PAGE = """<!DOCTYPE html>
<html><head><title>Harbour guide</title><style>p { color: red }</style></head>
<body><nav><a href="/">Home</a></nav>
<h1>Boats</h1>
<p>The <b>ferry</b> leaves&nbsp;at&#32;nine.<br>It is green.</p>
<ul><li>one<li>two <i>and</i> more</ul>
<h2>Prices</h2>
<table><tr><th>who<th>price</tr><tr><td>adult<td>5</table>
<pre>if x:
    go()</pre>
<script>alert("no")</script>
</body></html>
"""


def test_a_page_has_its_headings_lists_tables_and_code(parse):
    """Ends of items, rows and cells may be left out; scripts, styles and navigation are no text."""
    boats, prices = parse.parts(PAGE, "ferry.html")
    title = "ferry > Harbour guide"
    assert boats.text == f"{title} > Boats\n\nThe ferry leaves at nine.\nIt is green.\n\n- one\n- two and more"
    assert prices.text == f"{title} > Boats > Prices\n\nwho | price\nadult | 5\n\nif x:\n    go()"
    assert (boats.heading, prices.heading, boats.line) == ("Boats", "Boats > Prices", 5)


def test_a_page_is_decoded_as_it_says(parse):
    """An unknown character set is read as UTF-8."""
    body = "<html><head><meta charset='{}'></head><body>Caf\xe9</body></html>"
    [latin] = parse.parts(body.format("iso-8859-1").encode("latin-1"), "a.html")
    [unknown] = parse.parts(body.format("nonsense").encode(), "a.html")
    assert latin.text == unknown.text == "a\n\nCafé"


def test_a_deeply_nested_page_is_read(parse):
    """The parser is no recursion."""
    [part] = parse.parts("<html>" + "<div>" * 100_000 + "deep", "a.html")
    assert part.text == "a\n\ndeep"


def test_a_long_table_repeats_its_header(parse):
    """As in Markdown."""
    rows = "".join(f"<tr><td>{n}</td><td>{'x' * 60}</td></tr>" for n in range(40))
    parts = parse.parts(f"<html><table><tr><th>id</th><th>value</th></tr>{rows}</table>", "t.html")
    assert len(parts) > 2
    assert all(part.text.startswith("t\n\nid | value\n") for part in parts)


def _pdf(*pages):
    """Return a PDF whose pages show these lines of text."""
    count = len(pages)
    kids = " ".join(f"{3 + 2 * n} 0 R" for n in range(count))
    font = 3 + 2 * count
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Kids [{kids}] /Count {count} >>"]
    for n, lines in enumerate(pages):
        shown = "BT /F1 12 Tf 72 720 Td 14 TL " + " ".join(f"({line}) Tj T*" for line in lines) + " ET"
        objects += [
            (
                f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {4 + 2 * n} 0 R "
                f"/Resources << /Font << /F1 {font} 0 R >> >> >>"
            ),
            f"<< /Length {len(shown)} >>\nstream\n{shown}\nendstream",
        ]
    objects.append("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    data, offsets = b"%PDF-1.4\n", []
    for number, held in enumerate(objects, start=1):
        offsets.append(len(data))
        data += f"{number} 0 obj\n{held}\nendobj\n".encode()
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    head = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer\n"
    end = f"<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(data)}\n%%EOF\n"
    return data + (head + end).encode()


def test_a_pdf_is_one_part_or_more_for_each_page(parse):
    """A part knows its page; a page without text is passed over."""
    first, empty, last = parse.items(_pdf(["The ferry leaves", "at nine."], [], ["Five francs."]), "ferry.pdf")
    assert (first.text, first.metadata) == ("ferry\n\nThe ferry leaves\nat nine.", {"page": 1})
    assert isinstance(empty, PassedOver)
    assert (last.text, last.metadata) == ("ferry\n\nFive francs.", {"page": 3})


@pytest.mark.parametrize("data", [b"%PDF-1.7 nothing", _pdf(["x"])[:100]], ids=["no structure", "cut"])
def test_a_damaged_pdf_is_refused(parse, data):
    """Nothing of it is stored."""
    with pytest.raises(NotUnderstoodError, match="damaged"):
        parse.items(data, "a.pdf")


def test_a_pdf_without_the_extra_is_refused_with_the_way_to_it(parse, monkeypatch):
    """The library is optional."""
    monkeypatch.setitem(sys.modules, "pypdf", None)
    with pytest.raises(NotUnderstoodError, match=r"super-advanced-agents\[pdf\]"):
        parse.items(_pdf(["x"]), "a.pdf")
