"""Documents, which are texts under headings: Markdown, plain text, HTML and PDF.

A part of a document is one or more complete paragraphs under one heading, at most about 1,000 characters (256 tokens),
which an embedding model reads to their end. Entries and turns of conversations do not belong here.
"""
