"""PDF files, read by pypdf (the extra `pdf`): the text of each page."""

from __future__ import annotations

from collections.abc import Iterator

from super_advanced_agents.formats.content import Content
from super_advanced_agents.formats.documents.composing import Block, Composer, document_names
from super_advanced_agents.formats.parts import Item, NotUnderstoodError, PassedOver, Problem

_MAX_PAGES = 10_000


def is_pdf(content: Content) -> bool:
    """Return whether a file is a PDF."""
    return content.head.startswith(b"%PDF-")


def read_pdf(content: Content) -> Iterator[Item]:
    """Yield the parts of a PDF; each knows its page.

    Raises:
        NotUnderstoodError: pypdf is missing, or the file is damaged or encrypted.
    """
    try:
        from pypdf import PdfReader
        from pypdf.errors import PyPdfError
    except ImportError:
        raise NotUnderstoodError(
            "reading PDF needs the package pypdf", hint="install it: pip install 'super-advanced-agents[pdf]'"
        ) from None
    with content.open() as file:
        try:
            reader = PdfReader(file)
            pages = len(reader.pages)
            title = str(reader.metadata.title or "") if reader.metadata else ""
        except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as exc:
            raise NotUnderstoodError("the PDF is damaged or encrypted") from exc
        for number in range(min(pages, _MAX_PAGES)):
            try:
                text = reader.pages[number].extract_text()
            except Exception:  # pypdf lets errors of every kind through where a page is damaged
                yield Problem(0, f"page {number + 1} is damaged")
                continue
            if not text.strip():
                yield PassedOver("pages without text")
                continue
            composer = Composer(document_names(content.stem, title), {"page": number + 1})
            for paragraph in text.replace("\0", "").replace("\r", "").split("\n\n"):
                if paragraph.strip():
                    yield from composer.block(Block(paragraph.strip("\n").split("\n"), 0))
            yield from composer.finish()
